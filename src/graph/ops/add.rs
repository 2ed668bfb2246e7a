//! Elementwise sum of two tensors of the same shape.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::named::{inputs, named};
use super::tape::Tape;
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// (a, b) → a + b.
#[derive(Clone, Debug, PartialEq)]
pub struct Add;

inputs! {
    /// Operands of [`Add`].
    AddInputs of Add {
        /// First term.
        a,
        /// Second term, of the same shape.
        b,
    }
}

impl Operator for Add {
    const NAME: &'static str = "add";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let AddInputs { a, b } = self.try_inputs(inputs)?;
        require(a == b, || "operands must have equal shapes".to_owned())?;
        Ok(vec![a.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let AddInputs { a, b } = self.inputs(inputs);
        let sums = a.values().iter().zip(b.values());
        let values = sums.map(|(a, b)| a + b).collect();
        vec![Tensor::real(a.shape.clone(), values)]
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
