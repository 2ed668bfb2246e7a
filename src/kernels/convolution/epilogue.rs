//! Reductions of the result in a convolution's epilogue: the kernel leaves partial results for a
//! later node, either moments of the result or, where the result is the gradient by what was
//! normalised, the gradients of scale and shift.

use super::super::lowering::Lowering;
use super::super::{batch_moments, normalize_grad_reduce};
use crate::graph::ValueId;
use crate::graph::ops::{NormalizeGradReduce, NormalizeGradReduceInputs, NormalizedOperands};
use crate::program::Binding;

/// A reduction of the result that the graph asks for.
#[derive(Clone, Copy)]
pub(in super::super) enum Reduction<'a> {
    /// Partial moments of the result.
    Moments {
        /// The value that holds them.
        partial: ValueId,
    },
    /// Partial gradients of scale and shift.
    Affine {
        /// The value that holds them.
        partial: ValueId,
        op: &'a NormalizeGradReduce,
        /// What was normalised.
        norm: NormalizedOperands<ValueId>,
    },
}

/// What a kernel computes of it, and where the partial results go.
#[derive(Clone, Default)]
pub(super) enum Epilogue<'a> {
    #[default]
    Plain,
    Moments(Binding),
    Affine {
        partial: Binding,
        op: &'a NormalizeGradReduce,
        norm: NormalizedOperands<ValueId>,
    },
}

impl<'a> Epilogue<'a> {
    /// A reduction whose partial results have so many slices.
    pub(super) fn new(lowering: &mut Lowering<'_>, reduction: Reduction<'a>, slices: u32) -> Self {
        match reduction {
            Reduction::Moments { partial } => Epilogue::Moments(lowering.slices(partial, slices)),
            Reduction::Affine { partial, op, norm } => Epilogue::Affine {
                partial: lowering.slices(partial, slices),
                op,
                norm,
            },
        }
    }

    /// What the shaders must know.
    pub(super) fn constants(&self) -> [(&'static str, u32); 2] {
        let (moments, affine) = (
            matches!(self, Epilogue::Moments(_)),
            matches!(self, Epilogue::Affine { .. }),
        );
        [
            ("MOMENTS", u32::from(moments)),
            ("REDUCE", u32::from(affine)),
        ]
    }
}

/// Computes a reduction in a dispatch of its own, after a kernel that cannot.
pub(super) fn apart(lowering: &mut Lowering<'_>, reduction: Reduction<'_>, result: ValueId) {
    match reduction {
        Reduction::Moments { partial } => {
            batch_moments::partial(lowering, result, partial, |lowering, slices| {
                lowering.slices(partial, slices)
            });
        }
        Reduction::Affine { partial, op, norm } => {
            let operands = NormalizeGradReduceInputs {
                x: norm.x,
                dy: result,
                moments: norm.moments,
                affine: norm.affine,
            };
            let place = |lowering: &mut Lowering<'_>, slices| lowering.slices(partial, slices);
            normalize_grad_reduce::partial(lowering, op, operands, partial, place);
        }
    }
}
