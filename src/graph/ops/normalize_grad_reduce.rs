//! Gradients of batch norm's scale and shift: see [`super::batch_norm`].

use super::super::Tensor;
use super::batch_norm::{Channel, cases, check, numbers};
use super::named::{inputs, named};
use super::{Draw, HalfMaps, NormalizedOperands, Operator, Sample, require};
use crate::shape::Shape;

/// (x, dy, moments, affine) → (dscale, dshift) as one tensor [2, C].
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizeGradReduce {
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether ReLU follows.
    pub relu: bool,
}

inputs! {
    /// Operands of [`NormalizeGradReduce`].
    NormalizeGradReduceInputs of NormalizeGradReduce {
        /// Input of the normalisation [.., C].
        x,
        /// Gradient of the result [.., C].
        dy,
        /// Mean and variance [2, C].
        moments,
        /// Scale and shift [2, C].
        affine,
    }
}

impl Operator for NormalizeGradReduce {
    const NAME: &'static str = "normalize_grad_reduce";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let NormalizeGradReduceInputs {
            x,
            dy,
            moments,
            affine,
        } = self.try_inputs(inputs)?;
        check(x, &[moments, affine])?;
        require(x == dy, || "dy must have the shape of x".to_owned())?;
        Ok(vec![affine.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let NormalizeGradReduceInputs {
            x,
            dy,
            moments,
            affine,
        } = self.inputs(inputs);
        let channels = Channel::all(moments, affine, self.epsilon);
        let count = channels.len();
        let mut sums = vec![0.0; 2 * count];
        let cells = x.values().iter().zip(dy.values());
        for (i, (x, dy)) in cells.enumerate() {
            let channel = &channels[i % count];
            let dy = channel.masked(*x, *dy, self.relu);
            sums[i % count] += dy * channel.normalized(*x);
            sums[count + i % count] += dy;
        }
        vec![Tensor::real(affine.shape.clone(), sums)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, batch, relu)| {
                let (x, moments, affine) = numbers(draw, &dims, batch);
                let dy = draw.real(x.shape.clone());
                let op = NormalizeGradReduce {
                    epsilon: 1e-5,
                    relu,
                };
                Sample::new(op, vec![x, dy, moments, affine])
            })
            .collect()
    }
}

/// Shape of the partial sums of a reduction whose gradient `dy` another operator computes, if it is
/// to reduce it.
pub(super) fn partial_shape(
    reduce: &Option<NormalizeGradReduce>,
    norm: Option<NormalizedOperands<&Shape>>,
    dy: &Shape,
) -> Result<Option<Shape>, String> {
    let Some((reduce, norm)) = reduce.as_ref().zip(norm) else {
        return Ok(None);
    };
    let daffine = reduce.infer(&reduced(norm, dy))?.remove(0);
    Ok(Some(Shape::slices(&daffine.dims)))
}

/// The partial sums: a single slice.
pub(super) fn partial_sums(
    reduce: &Option<NormalizeGradReduce>,
    norm: Option<NormalizedOperands<&Tensor>>,
    dy: &Tensor,
) -> Option<Tensor> {
    let (reduce, norm) = reduce.as_ref().zip(norm)?;
    let daffine = reduce.reference(&reduced(norm, dy)).remove(0);
    let slices = Shape::slices(&daffine.shape.dims);
    Some(Tensor::real(slices, daffine.values().to_vec()))
}

/// Operands of the reduction: those of the normalisation, and the gradient.
fn reduced<T>(norm: NormalizedOperands<T>, dy: T) -> Vec<T> {
    let NormalizedOperands { x, moments, affine } = norm;
    let operands = NormalizeGradReduceInputs {
        x,
        dy,
        moments,
        affine,
    };
    operands.list()
}
