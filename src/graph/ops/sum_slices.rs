//! Sums the partial sums of a reduction: the second half of [`super::NormalizeGradReduce`].

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::{Layout, Shape};

/// Partial sums [A, C] → their sum [A, C].
#[derive(Clone, Debug, PartialEq)]
pub struct SumSlices;

inputs! {
    /// Operands of [`SumSlices`].
    SumSlicesInputs of SumSlices {
        /// Slices of partial sums, [A, C] each.
        partial,
    }
}

impl Operator for SumSlices {
    const NAME: &'static str = "sum_slices";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let SumSlicesInputs { partial } = self.try_inputs(inputs)?;
        require(partial.layout == Layout::Slices, || {
            "needs partial sums".to_owned()
        })?;
        Ok(vec![Shape::channels(&partial.dims)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let SumSlicesInputs { partial } = self.inputs(inputs);
        let sum = Shape::channels(&partial.shape.dims);
        vec![Tensor::real(sum, partial.values().to_vec())]
    }

    // As in merge_moments.
    fn samples(_: &mut Draw) -> Vec<Sample> {
        Vec::new()
    }
}
