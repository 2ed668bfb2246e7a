//! Mean and variance from partial moments: the second half of [`super::BatchMoments`], where
//! the operator that produces x computes the first half in its epilogue.

use super::super::Tensor;
use super::batch_moments::{merge, partial_shape};
use super::named::{inputs, named, outputs};
use super::{Draw, HalfMaps, Operator, RunningAverage, Sample, require};
use crate::shape::Shape;

/// (partial moments [3, C], running [2, C]) → (moments [2, C], running), as
/// [`super::BatchMoments`] of the tensor that the partial moments are of.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeMoments {
    /// Values that a channel has: N·H·W.
    pub rows: usize,
    /// How the running statistics take in those of the batch.
    pub running: Option<RunningAverage>,
}

inputs! {
    /// Operands of [`MergeMoments`].
    MergeMomentsInputs of MergeMoments {
        /// Partial moments [3, C]: number of rows, mean, sum of squared deviations.
        partial,
        /// Running statistics [2, C].
        running: optional(|op, _| op.running.is_some()),
    }
}

outputs! {
    /// Results of [`MergeMoments`].
    MergeMomentsOutputs of MergeMoments {
        /// Mean and biased variance [2, C].
        moments,
        /// The running statistics, updated in place.
        running: optional(|op, _| op.running.is_some()),
    }
}

impl Operator for MergeMoments {
    const NAME: &'static str = "merge_moments";
    const OUTPUTS: &'static [&'static str] = &["batch", "running"];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let MergeMomentsInputs { partial, running } = self.try_inputs(inputs)?;
        require(*partial == partial_shape(partial.last()), || {
            "takes partial moments [3, C]".to_owned()
        })?;
        let moments = Shape::channels(&[2, partial.last()]);
        let running = match (&self.running, running) {
            (Some(op), Some(running)) => op.infer(&[running, &moments])?.pop(),
            _ => None,
        };
        Ok(MergeMomentsOutputs { moments, running }.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let MergeMomentsInputs { partial, running } = self.inputs(inputs);
        let moments = merge(partial);
        let running = match (&self.running, running) {
            (Some(op), Some(running)) => op.reference(&[running, &moments]).pop(),
            _ => None,
        };
        MergeMomentsOutputs { moments, running }.list()
    }

    fn updates(&self, _: usize) -> Vec<(usize, usize)> {
        self.running.iter().map(|_| (1, 1)).collect()
    }

    // How many slices there are in memory depends on the kernel that makes them: tests look
    // at both nodes together.
    fn samples(_: &mut Draw) -> Vec<Sample> {
        Vec::new()
    }
}
