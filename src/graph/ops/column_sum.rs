//! Sum of each channel over all rows: the gradient of a bias.

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::{Layout, Shape};

/// x [.., C] → sum over all rows `[C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSum;

inputs! {
    /// Operands of [`ColumnSum`].
    ColumnSumInputs of ColumnSum {
        /// Rows [.., C].
        x,
    }
}

impl Operator for ColumnSum {
    const NAME: &'static str = "column_sum";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let ColumnSumInputs { x } = self.try_inputs(inputs)?;
        require(x.layout == Layout::Channels, || {
            "needs an activation [.., C]".to_owned()
        })?;
        Ok(vec![Shape::channels(&[x.last()])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ColumnSumInputs { x } = self.inputs(inputs);
        let channels = x.shape.last();
        let mut sums = vec![0.0; channels];
        for (i, x) in x.values().iter().enumerate() {
            sums[i % channels] += x;
        }
        vec![Tensor::real(Shape::channels(&[channels]), sums)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [128, 1, 1, 10], [2, 3, 3, 101]]
            .map(|dims| Sample::new(ColumnSum, vec![draw.real(Shape::channels(&dims))]))
            .into()
    }
}
