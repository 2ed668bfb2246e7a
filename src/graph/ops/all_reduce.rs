//! A reduction over the replicas of a network, which the host computes between two parts of a run: see
//! [`crate::graph::sync_batch_norm`].

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// own [2, C] → all [2, C]: a replica's own statistics → those of all replicas together.
///
/// No device computes it: it ends a part of a run ([`super::super::Graph::parts`]), after which the
/// host reads the operand of every replica and writes its result. Its reference, which has the only
/// replica, is the identity.
#[derive(Clone, Debug, PartialEq)]
pub struct AllReduce {
    /// What the statistics are.
    pub reduction: Reduction,
}

/// How statistics of several replicas are combined, in double precision and in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Mean and biased variance of the replica's rows → those of all rows, by the formula of Chan,
    /// Golub and LeVeque (1979). As in [`super::BatchMoments`], what overflows is NaN.
    Moments,
    /// Two sums over the replica's rows → the sums over all rows, times the replica's part of the rows.
    /// The gradient of batch norm divides by the replica's own number of rows
    /// ([`super::NormalizeGrad`]), which makes them means over all rows.
    Sums,
}

inputs! {
    /// Operands of [`AllReduce`].
    AllReduceInputs of AllReduce {
        /// The replica's own statistics [2, C], a value that outlives the run.
        own,
    }
}

impl Reduction {
    /// The result of a replica that has `images` of the images. `all` are the statistics of the replicas
    /// in order, each with its number of images; rows are in proportion to images.
    pub fn combine(self, all: &[(usize, &[f32])], images: usize) -> Vec<f32> {
        let total: usize = all.iter().map(|(images, _)| images).sum();
        let part = |images: usize| images as f64 / total as f64;
        let length = all.first().map_or(0, |(_, own)| own.len());
        let sum = |term: &dyn Fn(usize, &[f32]) -> f64| -> f64 {
            all.iter().map(|(images, own)| term(*images, own)).sum()
        };
        match self {
            Reduction::Sums => (0..length)
                .map(|at| (sum(&|_, own| f64::from(own[at])) * part(images)) as f32)
                .collect(),
            Reduction::Moments => {
                let channels = length / 2;
                let mean = |c: usize| sum(&|images, own| part(images) * f64::from(own[c]));
                let variance = |c: usize| {
                    let mean = mean(c);
                    sum(&|images, own| {
                        let [own_mean, within] = [own[c], own[channels + c]].map(f64::from);
                        part(images) * (within + (own_mean - mean).powi(2))
                    })
                };
                let moments = (0..channels).map(mean).chain((0..channels).map(variance));
                moments
                    .map(|moment| match super::overflows(moment) {
                        true => f32::NAN,
                        false => moment as f32,
                    })
                    .collect()
            }
        }
    }
}

impl Operator for AllReduce {
    const NAME: &'static str = "all_reduce";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let AllReduceInputs { own } = self.try_inputs(inputs)?;
        require(*own == Shape::channels(&[2, own.last()]), || {
            "needs statistics [2, C]".to_owned()
        })?;
        Ok(vec![own.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![self.inputs(inputs).own.clone()]
    }

    // Kernels are tested on samples, and it has none.
    fn samples(_: &mut Draw) -> Vec<Sample> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch_moments::{merge, partial};
    use super::*;

    /// Statistics of parts of a batch, of unequal sizes and with means far apart, are those of the batch.
    #[test]
    fn statistics_of_parts_are_those_of_the_batch() {
        let channels = 3;
        let mut draw = Draw::new(1);
        let sizes = [4, 1, 3];
        let parts = sizes.map(|images| {
            let shape = Shape::channels(&[images, 2, 2, channels]);
            let values = draw.real(shape.clone());
            let values = values.values().iter();
            Tensor::real(shape, values.map(|x| x + 10.0 * images as f64).collect())
        });
        let values = parts.iter().flat_map(|part| part.values().to_vec());
        let whole = Tensor::real(Shape::channels(&[8, 2, 2, channels]), values.collect());
        let own = parts.each_ref().map(|part| {
            let moments = merge(&partial(part));
            let moments = moments.values().iter();
            moments.map(|moment| *moment as f32).collect::<Vec<_>>()
        });
        let all: Vec<_> = sizes
            .into_iter()
            .zip(own.iter().map(|own| &own[..]))
            .collect();
        let expected = merge(&partial(&whole));
        let found = Reduction::Moments.combine(&all, 4);
        // Means up to 40 and variances up to 200 are rounded to f32 twice.
        for (found, expected) in found.iter().zip(expected.values()) {
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= 200.0 * f64::from(f32::EPSILON),
                "{found} {expected}"
            );
        }
        assert_eq!(found, Reduction::Moments.combine(&all, 1));
    }

    #[test]
    fn sums_are_in_proportion_to_the_images() {
        let all = [(3, &[1.0, -2.0][..]), (1, &[5.0, 4.0][..])];
        assert_eq!(Reduction::Sums.combine(&all, 3), [4.5, 1.5]);
        assert_eq!(Reduction::Sums.combine(&all, 1), [1.5, 0.5]);
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let large = [0.0, f32::MAX];
        let far = [f32::MAX, 0.0];
        for (first, second) in [(large, far), (far, [f32::NAN, 0.0])] {
            let found = Reduction::Moments.combine(&[(1, &first), (1, &second)], 1);
            assert!(found[1].is_nan(), "{found:?}");
        }
        let found = Reduction::Sums.combine(&[(1, &[f32::INFINITY]), (1, &[1.0])], 1);
        assert_eq!(found, [f32::INFINITY]);
    }
}
