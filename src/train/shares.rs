//! How a batch is divided: into shares of the devices, and those into micro-batches.

/// Relative shares of so many replicas: those that are given, else equal ones.
pub fn weights(given: &[u32], replicas: usize) -> Vec<u32> {
    match given {
        [] => vec![1; replicas],
        given => given.to_vec(),
    }
}

/// Images of each replica in a batch, in proportion to their weights. Images that are left over go to
/// those that lack most of their share, of equal ones to the first.
pub fn shares(batch: usize, weights: &[u32]) -> Vec<usize> {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let exact = weights
        .iter()
        .map(|weight| batch as u64 * u64::from(*weight));
    let (mut shares, lacking): (Vec<usize>, Vec<u64>) = exact
        .map(|exact| ((exact / sum) as usize, exact % sum))
        .unzip();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|replica| std::cmp::Reverse(lacking[*replica]));
    let left = batch - shares.iter().sum::<usize>();
    for replica in order.into_iter().take(left) {
        shares[replica] += 1;
    }
    shares
}

/// Sizes of the micro-batches of a batch, by replica; without a size of micro-batches, each replica's
/// share is one.
pub(super) fn micro_batches(
    batch: usize,
    weights: &[u32],
    micro_batch: Option<usize>,
) -> Vec<Vec<usize>> {
    let divided = shares(batch, weights).into_iter().map(|share| {
        let size = micro_batch.unwrap_or(share).max(1);
        let starts = (0..share).step_by(size);
        starts.map(|start| size.min(share - start)).collect()
    });
    divided.collect()
}

/// Sizes of all micro-batches, or batches, that occur in an epoch, the largest first.
pub(super) fn sizes(
    images: usize,
    batch: usize,
    weights: &[u32],
    micro_batch: Option<usize>,
) -> Vec<usize> {
    let batches = [batch.min(images), images % batch].into_iter();
    let mut sizes: Vec<usize> = batches
        .flat_map(|batch| micro_batches(batch, weights, micro_batch))
        .flatten()
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_shares_differ_by_at_most_one_image() {
        let shares = |batch, replicas| shares(batch, &weights(&[], replicas));
        assert_eq!(shares(128, 4), [32, 32, 32, 32]);
        assert_eq!(shares(80, 3), [27, 27, 26]);
        assert_eq!(shares(1, 2), [1, 0]);
    }

    #[test]
    fn shares_are_in_proportion() {
        assert_eq!(shares(128, &[3, 1]), [96, 32]);
        assert_eq!(shares(10, &[1, 2, 3]), [2, 3, 5]);
        assert_eq!(shares(7, &[1, 1, 5]), [1, 1, 5]);
        assert_eq!(shares(1, &[1, 9]), [0, 1]);
        for batch in 0..100 {
            let weights = [7, 1, 30];
            let shares = shares(batch, &weights);
            assert_eq!(shares.iter().sum::<usize>(), batch);
            for (share, weight) in shares.iter().zip(weights) {
                let exact = (batch * weight as usize) as f64 / 38.0;
                assert!((*share as f64 - exact).abs() < 1.0, "{batch}: {shares:?}");
            }
        }
        let large = [u32::MAX, u32::MAX];
        assert_eq!(super::shares(1 << 31, &large), [1 << 30, 1 << 30]);
    }

    #[test]
    fn micro_batches_of_every_size_are_known() {
        let equal = |replicas| weights(&[], replicas);
        assert_eq!(sizes(50_000, 128, &equal(1), None), [128, 80]);
        assert_eq!(sizes(8_000, 32, &equal(1), None), [32]);
        assert_eq!(sizes(50_000, 128, &equal(1), Some(48)), [48, 32]);
        assert_eq!(sizes(10, 128, &equal(1), Some(48)), [10]);
        assert_eq!(sizes(50_000, 128, &equal(3), None), [43, 42, 27, 26]);
        assert_eq!(sizes(33, 32, &equal(2), Some(12)), [12, 4, 1]);
        assert_eq!(sizes(50_000, 128, &[3, 1], None), [96, 60, 32, 20]);
    }
}
