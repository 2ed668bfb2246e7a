//! ReLU; a NaN propagates.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::named::{inputs, named};
use super::relu_grad::ReluGradInputs;
use super::tape::Tape;
use super::{Draw, HalfMaps, Operator, ReluGrad, Sample};
use crate::shape::Shape;

/// x → x where x is not negative, else 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Relu;

inputs! {
    /// Operands of [`Relu`].
    ReluInputs of Relu {
        /// The input.
        x,
    }
}

impl Operator for Relu {
    const NAME: &'static str = "relu";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        Ok(vec![self.try_inputs(inputs)?.x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ReluInputs { x } = self.inputs(inputs);
        let relu = |x: &f64| if *x < 0.0 { 0.0 } else { *x };
        let values = x.values().iter().map(relu).collect();
        vec![Tensor::real(x.shape.clone(), values)]
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
        let operands = ReluGradInputs {
            y: node.outputs[0],
            dy,
        };
        let dx = tape.push_one(ReluGrad, &operands.list(), self.inputs(&node.inputs).x)?;
        Ok(vec![Some(dx)])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 11, 64]]
            .map(|dims| Sample::new(Relu, vec![draw.real(Shape::channels(&dims))]))
            .into()
    }
}
