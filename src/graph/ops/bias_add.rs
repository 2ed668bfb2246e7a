//! Adds a bias to every row. After a 1x1 convolution of a 1x1 map, it completes the linear layer.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::named::{inputs, named};
use super::tape::Tape;
use super::{ColumnSum, Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// (x [.., C], bias `[C]`) → x + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct BiasAdd;

inputs! {
    /// Operands of [`BiasAdd`].
    BiasAddInputs of BiasAdd {
        /// Rows [.., C].
        x,
        /// Added to each row, `[C]`.
        bias,
    }
}

impl Operator for BiasAdd {
    const NAME: &'static str = "bias_add";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let BiasAddInputs { x, bias } = self.try_inputs(inputs)?;
        require(*bias == Shape::channels(&[x.last()]), || {
            format!("the bias must be f32[{}]", x.last())
        })?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let BiasAddInputs { x, bias } = self.inputs(inputs);
        let shape = x.shape.clone();
        let bias = bias.values();
        let cells = x.values().iter().enumerate();
        let values = cells.map(|(i, x)| x + bias[i % bias.len()]).collect();
        vec![Tensor::real(shape, values)]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let BiasAddInputs { bias, .. } = self.inputs(&node.inputs);
        let mut gradients = BiasAddInputs {
            x: upstream[0],
            bias: None,
        };
        if let (Some(dy), true) = (upstream[0], tape.wants(bias)) {
            gradients.bias = Some(tape.push_one(ColumnSum, &[dy], bias)?);
        }
        Ok(gradients.list())
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [3, 1, 1, 10], [2, 3, 3, 101]]
            .map(|dims| {
                let bias = Shape::channels(&[dims[3]]);
                let inputs = vec![draw.real(Shape::channels(&dims)), draw.real(bias)];
                Sample::new(BiasAdd, inputs)
            })
            .into()
    }
}
