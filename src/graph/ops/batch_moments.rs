//! Mean and variance of each channel over a batch: the statistics of batch norm
//! (Ioffe and Szegedy 2015, algorithm 1).
//!
//! Devices compute them in two halves: first partial moments (number of rows, mean, sum of
//! squared deviations) of slices of the rows, then their combination by the formula of Chan,
//! Golub and LeVeque (1979). Operators that compute an activation can do the first half in their
//! epilogue, and [`super::MergeMoments`] the second; see [`crate::graph::rewrite`].

use super::super::{Data, Tensor};
use super::named::{inputs, named, outputs};
use super::running_average::{infer_running, update_running};
use super::{Draw, HalfMaps, Operator, RunningAverage, Sample, overflows, require};
use crate::shape::{Layout, Shape};

/// x [.., C] → moments [2, C]: row 0 the mean, row 1 the biased variance; or (x, running
/// [2, C]) → (moments, running), which also updates the running statistics in place. A variance
/// that overflows is NaN, not infinite.
///
/// It has no gradient: [`super::Normalize`] with `batch` set accounts for the dependence of the
/// moments on x.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMoments {
    /// The update of the running statistics, if it is fused.
    pub running: Option<RunningAverage>,
}

inputs! {
    /// Operands of [`BatchMoments`].
    BatchMomentsInputs of BatchMoments {
        /// Activation [.., C].
        x,
        /// Running statistics [2, C].
        running: optional(|op, _| op.running.is_some()),
    }
}

outputs! {
    /// Results of [`BatchMoments`].
    BatchMomentsOutputs of BatchMoments {
        /// Mean and biased variance [2, C].
        moments,
        /// The running statistics, updated in place.
        running: optional(|op, _| op.running.is_some()),
    }
}

/// Shape of the partial moments of a slice: number of rows, mean, sum of squared deviations.
pub(super) fn partial_shape(channels: usize) -> Shape {
    Shape::slices(&[3, channels])
}

/// Partial moments of all rows.
pub(super) fn partial(x: &Tensor) -> Tensor {
    let (rows, channels) = (x.shape.rows(), x.shape.last());
    let mut partial = vec![rows as f64; 3 * channels];
    let (mean, deviations) = partial[channels..].split_at_mut(channels);
    mean.fill(0.0);
    deviations.fill(0.0);
    for row in x.values().chunks_exact(channels) {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value / rows as f64;
        }
    }
    for row in x.values().chunks_exact(channels) {
        for c in 0..channels {
            deviations[c] += (row[c] - mean[c]).powi(2);
        }
    }
    Tensor::real(partial_shape(channels), partial)
}

/// Mean and biased variance from the partial moments of all rows. Where `f32` cannot hold them they
/// are NaN: normalisation by an infinite variance would give finite numbers and hide the overflow.
pub(super) fn merge(partial: &Tensor) -> Tensor {
    let channels = partial.shape.last();
    let [count, mean, deviations] =
        [0, 1, 2].map(|row| &partial.values()[row * channels..(row + 1) * channels]);
    let variance = deviations.iter().zip(count).map(|(sum, count)| sum / count);
    let moments = mean.iter().copied().chain(variance);
    let visible = moments.map(|moment| match overflows(moment) {
        true => f64::NAN,
        false => moment,
    });
    Tensor::real(Shape::channels(&[2, channels]), visible.collect())
}

impl Operator for BatchMoments {
    const NAME: &'static str = "batch_moments";

    const OUTPUTS: &'static [&'static str] = &["batch", "running"];
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let BatchMomentsInputs { x, running } = self.try_inputs(inputs)?;
        require(x.layout == Layout::Channels, || {
            "needs an activation [.., C]".to_owned()
        })?;
        require(x.rows() > 0, || "needs at least one image".to_owned())?;
        let moments = Shape::channels(&[2, x.last()]);
        let running = infer_running(&self.running, running, &moments)?;
        Ok(BatchMomentsOutputs { moments, running }.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let BatchMomentsInputs { x, running } = self.inputs(inputs);
        let moments = merge(&partial(x));
        let running = update_running(&self.running, running, &moments);
        BatchMomentsOutputs { moments, running }.list()
    }

    fn updates(&self, _: usize) -> Vec<(usize, usize)> {
        self.running.iter().map(|_| (1, 1)).collect()
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [
            [1, 1, 2, 1],
            [2, 3, 5, 7],
            [3, 17, 13, 33],
            [1, 1, 1, 5],
            [2, 2, 2, 286],
            [2, 3, 5, 9],
        ]
        .into_iter()
        .flat_map(|dims| {
            let mut x = draw.real(Shape::channels(&dims));
            if let (9, Data::Real(values)) = (dims[3], &mut x.data) {
                // The variance of one channel overflows.
                for value in values.iter_mut().step_by(9) {
                    *value = f64::from((*value * 1e20) as f32);
                }
            }
            let kept = draw.positive(Shape::channels(&[2, dims[3]]));
            let running = RunningAverage {
                weight: 0.1,
                count: x.shape.rows().max(2),
            };
            let op = |running| BatchMoments { running };
            [
                Sample::new(op(None), vec![x.clone()]),
                Sample::new(op(Some(running)), vec![x, kept]),
            ]
        })
        .collect()
    }
}
