//! Batch norm for given moments, optionally followed by ReLU: see [`super::batch_norm`].

use super::super::{GraphError, Node, Tensor, ValueId};
use super::batch_norm::{Channel, cases, check, numbers};
use super::named::{inputs, named};
use super::normalize_grad::NormalizeGradInputs;
use super::normalize_grad_reduce::NormalizeGradReduceInputs;
use super::tape::Tape;
use super::{Draw, HalfMaps, NormOperands, NormalizeGrad, NormalizeGradReduce, Operator, Sample};
use crate::shape::Shape;

/// (x [.., C], moments [2, C], affine [2, C]) → y.
///
/// Moments are mean and variance, affine is scale and shift.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalize {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether the moments are those of x, so that the gradient of x also flows through them.
    pub batch: bool,
    /// Whether ReLU follows.
    pub relu: bool,
}

impl Normalize {
    /// Appends the nodes that compute the operands' gradients from `dy`, that of the result.
    pub(super) fn backward(
        &self,
        tape: &mut Tape<'_>,
        NormalizeInputs { x, norm }: NormalizeInputs<ValueId>,
        dy: ValueId,
    ) -> Result<NormalizeInputs<Option<ValueId>>, GraphError> {
        let NormOperands { moments, affine } = norm;
        let reduce = NormalizeGradReduce {
            epsilon: self.epsilon,
            relu: self.relu,
        };
        let operands = NormalizeGradReduceInputs {
            x,
            dy,
            moments,
            affine,
        };
        let daffine = tape.push_one(reduce, &operands.list(), affine)?;
        let mut dx = None;
        if tape.wants(x) {
            let op = NormalizeGrad {
                epsilon: self.epsilon,
                batch: self.batch,
                relu: self.relu,
                shortcut: None,
                partial_affine: None,
            };
            let operands = NormalizeGradInputs {
                x,
                dy,
                moments,
                affine,
                daffine,
                dsum: None,
                norm: None,
            };
            dx = Some(tape.push_one(op, &operands.list(), x)?);
        }
        Ok(NormalizeInputs {
            x: dx,
            norm: NormOperands {
                moments: None,
                affine: Some(daffine),
            },
        })
    }
}

inputs! {
    /// Operands of [`Normalize`].
    NormalizeInputs of Normalize {
        /// Activation [.., C].
        x,
        /// Mean and variance, scale and shift.
        norm: pair,
    }
}

/// Checks the operands of an optional normalisation of x.
pub(super) fn check_norm(
    normalize: &Option<Normalize>,
    x: &Shape,
    norm: Option<NormOperands<&Shape>>,
) -> Result<(), String> {
    if let (Some(normalize), Some(norm)) = (normalize, norm) {
        normalize.infer(&[x, norm.moments, norm.affine])?;
    }
    Ok(())
}

/// x, normalised if `normalize` is set.
pub(super) fn normalized(
    normalize: &Option<Normalize>,
    x: &Tensor,
    norm: Option<NormOperands<&Tensor>>,
) -> Tensor {
    match (normalize, norm) {
        (Some(normalize), Some(norm)) => normalize
            .reference(&[x, norm.moments, norm.affine])
            .remove(0),
        _ => x.clone(),
    }
}

impl Operator for Normalize {
    const NAME: &'static str = "normalize";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let NormalizeInputs { x, norm } = self.try_inputs(inputs)?;
        check(x, &[norm.moments, norm.affine])?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let NormalizeInputs { x, norm } = self.inputs(inputs);
        let channels = Channel::all(norm.moments, norm.affine, self.epsilon);
        let cells = x.values().iter().enumerate();
        let values = cells.map(|(i, x)| {
            let channel = &channels[i % channels.len()];
            let y = channel.normalized(*x) * channel.scale + channel.shift;
            match self.relu && y < 0.0 {
                true => 0.0,
                false => y,
            }
        });
        vec![Tensor::real(x.shape.clone(), values.collect())]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        match upstream[0] {
            Some(dy) => Ok(self.backward(tape, self.inputs(&node.inputs), dy)?.list()),
            None => Ok(vec![None; 3]),
        }
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, batch, relu)| {
                let (x, moments, affine) = numbers(draw, &dims, batch);
                let op = Normalize {
                    epsilon: 1e-5,
                    batch,
                    relu,
                };
                Sample::new(op, vec![x, moments, affine])
            })
            .collect()
    }
}
