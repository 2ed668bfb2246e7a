//! Adds a bias to every row, and its gradient: the sum over rows.
//!
//! With a 1x1 convolution on a 1x1 map before it, this is the linear layer.

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::{Draw, Operator, Sample, operands, require};
use crate::shape::{Layout, Shape};

/// (x [.., C], bias `[C]`) → x + bias.
#[derive(Clone, Debug, PartialEq)]
pub struct BiasAdd;

/// x [.., C] → sum over all rows `[C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnSum;

impl Operator for BiasAdd {
    const NAME: &'static str = "bias_add";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [x, bias] = operands(inputs)?;
        require(*bias == Shape::channels(&[x.last()]), || {
            format!("the bias must be f32[{}]", x.last())
        })?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let bias = inputs[1].values();
        let cells = inputs[0].values().iter().enumerate();
        let values = cells.map(|(i, x)| x + bias[i % bias.len()]).collect();
        vec![Tensor::real(inputs[0].shape.clone(), values)]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let mut gradients = vec![upstream[0], None];
        if let (Some(dy), true) = (upstream[0], tape.wants(node.inputs[1])) {
            gradients[1] = Some(tape.push_one(ColumnSum, &[dy], node.inputs[1])?);
        }
        Ok(gradients)
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

impl Operator for ColumnSum {
    const NAME: &'static str = "column_sum";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [x] = operands(inputs)?;
        require(x.layout == Layout::Channels, || {
            "takes an activation".to_owned()
        })?;
        Ok(vec![Shape::channels(&[x.last()])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let channels = inputs[0].shape.last();
        let mut sums = vec![0.0; channels];
        for (i, x) in inputs[0].values().iter().enumerate() {
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
