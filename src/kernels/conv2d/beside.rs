//! Partial results of a reduction of the result, which a convolution leaves beside it for a
//! later node: moments of the result itself, or, where the result is the gradient by what was
//! normalised, the gradients of scale and shift.

use super::super::lower::Lowering;
use super::super::{batch_moments, normalize};
use crate::graph::ValueId;
use crate::graph::ops::NormalizeGradReduce;
use crate::program::Binding;
use crate::shape::LANES;

/// What is left, and where.
#[derive(Clone, Debug, Default)]
pub(super) enum Beside<'a> {
    #[default]
    Nothing,
    /// Partial moments.
    Moments(Binding),
    /// Partial gradients of scale and shift.
    Reduction {
        partial: Binding,
        op: &'a NormalizeGradReduce,
        /// x, moments and affine of the normalisation.
        operands: [ValueId; 3],
    },
}

impl<'a> Beside<'a> {
    /// Moments of a result in so many slices, if anybody wants them.
    pub(super) fn moments(lowering: &mut Lowering<'a>, result: ValueId, slices: u32) -> Self {
        match batch_moments::beside(lowering, result, slices) {
            Some(partial) => Beside::Moments(partial),
            // Software adapters compile slowly: evaluation runs the kernels of training, and
            // nobody reads what they leave.
            None if lowering.target.software => {
                let vecs = lowering.shape(result).last().div_ceil(LANES) as u64;
                Beside::Moments(lowering.scratch(result, 48 * vecs * u64::from(slices)))
            }
            None => Beside::Nothing,
        }
    }

    /// Gradients of scale and shift in so many slices, if anybody wants them.
    pub(super) fn reduction(lowering: &mut Lowering<'a>, result: ValueId, slices: u32) -> Self {
        match normalize::beside(lowering, result, slices) {
            Some((partial, op, operands)) => Beside::Reduction {
                partial,
                op,
                operands,
            },
            None => Beside::Nothing,
        }
    }
}
