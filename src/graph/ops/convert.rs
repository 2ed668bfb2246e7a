//! A value in the other precision of storage; see [`super::super::precision`].

use super::super::Tensor;
use super::{Draw, Operator, Sample, operands};
use crate::shape::Shape;

/// x → x, rounded as the result's element type demands.
#[derive(Clone, Debug, PartialEq)]
pub struct Convert;

impl Operator for Convert {
    const NAME: &'static str = "convert";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![operands::<1>(inputs)?[0].clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        vec![inputs[0].clone()]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 11, 64]]
            .map(|dims| Sample::new(Convert, vec![draw.real(Shape::channels(&dims))]))
            .into()
    }
}
