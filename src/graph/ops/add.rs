//! Elementwise sum of two tensors of one shape.

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::{Draw, Operator, Sample, operands, require};
use crate::shape::Shape;

/// (a, b) → a + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Add;

impl Operator for Add {
    const NAME: &'static str = "add";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [a, b] = operands(inputs)?;
        require(a == b, || "both operands need one shape".to_owned())?;
        Ok(vec![a.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let sums = inputs[0].values().iter().zip(inputs[1].values());
        let values = sums.map(|(a, b)| a + b).collect();
        vec![Tensor::real(inputs[0].shape.clone(), values)]
    }

    fn gradient(
        &self,
        _: &mut Tape<'_>,
        _: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        Ok(vec![upstream[0], upstream[0]])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 11, 64]]
            .map(|dims| {
                let shape = Shape::channels(&dims);
                Sample::new(Add, vec![draw.real(shape.clone()), draw.real(shape)])
            })
            .into()
    }
}
