//! Mean and variance from partial moments: the second half of [`super::BatchMoments`], used when
//! the operator that computes x does the first half in its epilogue.

use super::super::Tensor;
use super::batch_moments::{merge, partial_shape};
use super::named::{inputs, named, outputs};
use super::running_average::{infer_running, update_running};
use super::{Draw, HalfMaps, Operator, RunningAverage, Sample, require};
use crate::shape::Shape;

/// (partial moments [3, C], running [2, C]) → (moments [2, C], running): the results of
/// [`super::BatchMoments`] for the tensor whose partial moments these are.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeMoments {
    /// Values of a channel in the batch: N·H·W.
    pub rows: usize,
    /// The update of the running statistics, if it is fused.
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
            "needs partial moments [3, C]".to_owned()
        })?;
        let moments = Shape::channels(&[2, partial.last()]);
        let running = infer_running(&self.running, running, &moments)?;
        Ok(MergeMomentsOutputs { moments, running }.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let MergeMomentsInputs { partial, running } = self.inputs(inputs);
        let moments = merge(partial);
        let running = update_running(&self.running, running, &moments);
        MergeMomentsOutputs { moments, running }.list()
    }

    fn updates(&self, _: usize) -> Vec<(usize, usize)> {
        self.running.iter().map(|_| (1, 1)).collect()
    }

    // The number of slices in memory depends on the kernel that computes them, so tests run both
    // nodes together.
    fn samples(_: &mut Draw) -> Vec<Sample> {
        Vec::new()
    }
}
