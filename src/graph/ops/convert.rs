//! Converts a value between `f32` and `f16` storage; see [`super::super::precision`].

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample};
use crate::shape::Shape;

/// x → x, rounded to the element type of the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Convert;

inputs! {
    /// Operands of [`Convert`].
    ConvertInputs of Convert {
        /// The value.
        x,
    }
}

impl Operator for Convert {
    const NAME: &'static str = "convert";
    const HALF: HalfMaps = HalfMaps::Each;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![self.try_inputs(inputs)?.x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![self.inputs(inputs).x.clone()]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 11, 64]]
            .map(|dims| Sample::new(Convert, vec![draw.real(Shape::channels(&dims))]))
            .into()
    }
}
