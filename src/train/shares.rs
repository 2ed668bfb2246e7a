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

/// A micro-batch of a replica, or its share of a batch that is not divided further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MicroBatch {
    /// Its images.
    pub(super) images: usize,
    /// With synchronised batch norm, the images of the micro-batches that all replicas compute at the
    /// same time, this one included.
    pub(super) synchronized: Option<usize>,
}

/// How batches are divided.
pub(super) struct Division {
    /// Relative shares of the replicas.
    pub(super) weights: Vec<u32>,
    /// Size of a micro-batch, if smaller than a share.
    pub(super) micro_batch: Option<usize>,
    /// Whether the replicas' micro-batches of the same number have common statistics.
    pub(super) synchronized: bool,
}

impl Division {
    /// The micro-batches of a batch, by replica; without a size of micro-batches, each replica's share
    /// is one.
    pub(super) fn micro_batches(&self, batch: usize) -> Vec<Vec<MicroBatch>> {
        let shares = shares(batch, &self.weights);
        let images = |share: usize, number: usize| {
            let size = self.micro_batch.unwrap_or(share);
            share.saturating_sub(number * size).min(size)
        };
        let together = |number| shares.iter().map(|share| images(*share, number)).sum();
        let divided = shares.iter().map(|share| {
            let sizes = (0..).map(|number| (number, images(*share, number)));
            let sizes = sizes.take_while(|(_, images)| *images > 0);
            let micro_batch = |(number, images)| MicroBatch {
                images,
                synchronized: self.synchronized.then(|| together(number)),
            };
            sizes.map(micro_batch).collect()
        });
        divided.collect()
    }

    /// How often a batch that is divided so updates the running statistics of the run: those of the first
    /// replica, or of all.
    pub(super) fn updates(&self, divided: &[Vec<MicroBatch>]) -> usize {
        let rounds = divided.iter().map(Vec::len);
        match self.synchronized {
            true => rounds.max().unwrap_or(0),
            false => divided[0].len(),
        }
    }

    /// All kinds of micro-batches, or batches, that occur in an epoch, the largest first.
    pub(super) fn kinds(&self, images: usize, batch: usize) -> Vec<MicroBatch> {
        let batches = [batch.min(images), images % batch].into_iter();
        let mut kinds: Vec<MicroBatch> = batches
            .flat_map(|batch| self.micro_batches(batch))
            .flatten()
            .collect();
        kinds.sort_unstable_by(|a, b| b.cmp(a));
        kinds.dedup();
        kinds
    }
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

    fn division(weights: &[u32], micro_batch: Option<usize>, synchronized: bool) -> Division {
        Division {
            weights: weights.to_vec(),
            micro_batch,
            synchronized,
        }
    }

    #[test]
    fn micro_batches_of_every_size_are_known() {
        let sizes = |images, batch, weights: &[u32], micro_batch| {
            let kinds = division(weights, micro_batch, false).kinds(images, batch);
            let sizes = kinds.iter().map(|kind| kind.images);
            sizes.collect::<Vec<_>>()
        };
        let equal = |replicas| weights(&[], replicas);
        assert_eq!(sizes(50_000, 128, &equal(1), None), [128, 80]);
        assert_eq!(sizes(8_000, 32, &equal(1), None), [32]);
        assert_eq!(sizes(50_000, 128, &equal(1), Some(48)), [48, 32]);
        assert_eq!(sizes(10, 128, &equal(1), Some(48)), [10]);
        assert_eq!(sizes(50_000, 128, &equal(3), None), [43, 42, 27, 26]);
        assert_eq!(sizes(33, 32, &equal(2), Some(12)), [12, 4, 1]);
        assert_eq!(sizes(50_000, 128, &[3, 1], None), [96, 60, 32, 20]);
    }

    #[test]
    fn synchronized_micro_batches_know_their_sum() {
        let divided = division(&[3, 1], Some(20), true).micro_batches(32);
        let pairs = |of: &[MicroBatch]| -> Vec<_> {
            let pairs = of.iter().map(|part| (part.images, part.synchronized));
            pairs.collect()
        };
        assert_eq!(pairs(&divided[0]), [(20, Some(28)), (4, Some(4))]);
        assert_eq!(pairs(&divided[1]), [(8, Some(28))]);
        // 32 images are a share of a whole batch, and the larger share of the last one.
        let kinds = division(&[3, 1], None, true).kinds(128 + 43, 128);
        let expected = [(96, 128), (32, 128), (32, 43), (11, 43)];
        let expected = expected.map(|(images, total)| (images, Some(total)));
        assert_eq!(pairs(&kinds), expected);
    }
}
