//! ReLU and its gradient; a NaN passes through.

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::{Draw, Operator, Sample, operands, require};
use crate::shape::Shape;

/// x → x where x is not negative, else 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Relu;

/// (y, dy) → dy where the result y of ReLU is positive, else 0.
#[derive(Clone, Debug, PartialEq)]
pub struct ReluGrad;

impl Operator for Relu {
    const NAME: &'static str = "relu";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![operands::<1>(inputs)?[0].clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let relu = |x: &f64| if *x < 0.0 { 0.0 } else { *x };
        let values = inputs[0].values().iter().map(relu).collect();
        vec![Tensor::real(inputs[0].shape.clone(), values)]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let Some(dy) = upstream[0] else {
            return Ok(vec![None]);
        };
        let dx = tape.push_one(ReluGrad, &[node.outputs[0], dy], node.inputs[0])?;
        Ok(vec![Some(dx)])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 11, 64]]
            .map(|dims| Sample::new(Relu, vec![draw.real(Shape::channels(&dims))]))
            .into()
    }
}

impl Operator for ReluGrad {
    const NAME: &'static str = "relu_grad";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [y, dy] = operands(inputs)?;
        require(y == dy, || "both operands need one shape".to_owned())?;
        Ok(vec![y.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let cells = inputs[0].values().iter().zip(inputs[1].values());
        let values = cells.map(|(y, dy)| if *y <= 0.0 { 0.0 } else { *dy });
        vec![Tensor::real(inputs[0].shape.clone(), values.collect())]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 11, 64]]
            .map(|dims| {
                let x = draw.real(Shape::channels(&dims));
                let y = Relu.reference(&[&x]).remove(0);
                let dy = draw.real(y.shape.clone());
                Sample::new(ReluGrad, vec![y, dy])
            })
            .into()
    }
}
