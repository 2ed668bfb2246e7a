//! Gradient of ReLU, computed from its result; a NaN there lets the gradient pass.

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// (y, dy) → 0 where the result y of ReLU is 0, else dy.
#[derive(Clone, Debug, PartialEq)]
pub struct ReluGrad;

inputs! {
    /// Operands of [`ReluGrad`].
    ReluGradInputs of ReluGrad {
        /// Result of the ReLU.
        y,
        /// Gradient of the result.
        dy,
    }
}

impl Operator for ReluGrad {
    const NAME: &'static str = "relu_grad";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let ReluGradInputs { y, dy } = self.try_inputs(inputs)?;
        require(y == dy, || "operands must have equal shapes".to_owned())?;
        Ok(vec![y.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ReluGradInputs { y, dy } = self.inputs(inputs);
        let cells = y.values().iter().zip(dy.values());
        let values = cells.map(|(y, dy)| if *y <= 0.0 { 0.0 } else { *dy });
        vec![Tensor::real(y.shape.clone(), values.collect())]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 3, 5, 7], [1, 9, 11, 64]]
            .map(|dims| {
                let x = draw.real(Shape::channels(&dims));
                let result = x.values().iter().map(|x| x.max(0.0)).collect();
                let y = Tensor::real(x.shape.clone(), result);
                let dy = draw.real(y.shape.clone());
                Sample::new(ReluGrad, vec![y, dy])
            })
            .into()
    }
}
