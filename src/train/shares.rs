//! How a batch is divided: into shares of the devices, and those into micro-batches.

/// Images of each replica in a batch: as equal as possible, larger shares first.
pub(super) fn shares(batch: usize, replicas: usize) -> impl Iterator<Item = usize> {
    let (least, rest) = (batch / replicas, batch % replicas);
    (0..replicas).map(move |replica| least + usize::from(replica < rest))
}

/// Sizes of the micro-batches of a batch, by replica; without a size of micro-batches, each replica's
/// share is one.
pub(super) fn micro_batches(
    batch: usize,
    replicas: usize,
    micro_batch: Option<usize>,
) -> Vec<Vec<usize>> {
    let divided = shares(batch, replicas).map(|share| {
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
    replicas: usize,
    micro_batch: Option<usize>,
) -> Vec<usize> {
    let batches = [batch.min(images), images % batch].into_iter();
    let mut sizes: Vec<usize> = batches
        .flat_map(|batch| micro_batches(batch, replicas, micro_batch))
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
    fn shares_differ_by_at_most_one_image() {
        let shares = |batch, replicas| shares(batch, replicas).collect::<Vec<_>>();
        assert_eq!(shares(128, 4), [32, 32, 32, 32]);
        assert_eq!(shares(80, 3), [27, 27, 26]);
        assert_eq!(shares(1, 2), [1, 0]);
    }

    #[test]
    fn micro_batches_of_every_size_are_known() {
        assert_eq!(sizes(50_000, 128, 1, None), [128, 80]);
        assert_eq!(sizes(8_000, 32, 1, None), [32]);
        assert_eq!(sizes(50_000, 128, 1, Some(48)), [48, 32]);
        assert_eq!(sizes(10, 128, 1, Some(48)), [10]);
        assert_eq!(sizes(50_000, 128, 3, None), [43, 42, 27, 26]);
        assert_eq!(sizes(33, 32, 2, Some(12)), [12, 4, 1]);
    }
}
