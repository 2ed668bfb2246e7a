//! Reductions of the result in a convolution's epilogue: the kernel writes partial statistics for
//! a later node. These are the moments of the result or, where the result is the gradient of a
//! normalisation's output, the gradients of its scale and shift.

use super::super::lowering::Lowering;
use super::super::row_partition::RowPartition;
use super::super::{batch_moments, normalize_grad_reduce};
use crate::graph::ValueId;
use crate::graph::ops::{NormalizeGradReduce, NormalizedOperands};
use crate::program::Binding;

/// A reduction of the result that the graph requests.
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
        /// Operands of the normalisation.
        norm: NormalizedOperands<ValueId>,
    },
}

/// The reduction that a kernel computes in its epilogue, and where it writes the partial
/// statistics.
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
    /// A reduction whose partial statistics have this number of slices.
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

    /// Constants of the shaders.
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

/// Computes a reduction in a separate dispatch, after a kernel that has no epilogue for it.
pub(super) fn separate_dispatch(
    lowering: &mut Lowering<'_>,
    reduction: Reduction<'_>,
    result: ValueId,
) {
    match reduction {
        Reduction::Moments { partial } => {
            let partition = RowPartition::reduction(lowering.shape(result), lowering.target);
            let slices = lowering.slices(partial, partition.slices());
            batch_moments::launch_partial(lowering, result, partial, &partition, slices);
        }
        Reduction::Affine { partial, op, norm } => {
            normalize_grad_reduce::separate_dispatch(lowering, op, norm, result, partial);
        }
    }
}
