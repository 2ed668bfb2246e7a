//! Host half of `shaders/normalize_grad_reduce.wgsl`.

use super::batch_norm::Params;
use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, shader};
use super::sum_slices;
use crate::graph::ops::{NormalizeGradReduce, NormalizeGradReduceInputs, NormalizedOperands};
use crate::graph::{Node, ValueId};
use crate::program::Binding;

pub(super) const SHADER: Shader = shader!(
    "normalize_grad_reduce",
    [Read, Read, Read, Read, Write],
    Params
);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &NormalizeGradReduce,
    node: &Node,
) -> Result<(), LowerError> {
    let daffine = node.outputs[0];
    let operands = op.inputs(&node.inputs);
    let partition = RowPartition::reduction(lowering.shape(operands.x), lowering.target);
    let bytes = u64::from(partition.slices()) * lowering.shape(daffine).bytes();
    let partial = lowering.scratch(daffine, "slices", bytes);
    launch_partial(lowering, op, operands, daffine, &partition, partial.clone());
    sum_slices::launch(lowering, &partial, daffine);
    Ok(())
}

/// Reduces a gradient dy after the kernel that computes it, where that has no epilogue for it:
/// writes the partial gradients of scale and shift to `partial`.
pub(super) fn separate_dispatch(
    lowering: &mut Lowering<'_>,
    op: &NormalizeGradReduce,
    norm: NormalizedOperands<ValueId>,
    dy: ValueId,
    partial: ValueId,
) {
    let partition = RowPartition::reduction(lowering.shape(dy), lowering.target);
    let slices = lowering.slices(partial, partition.slices());
    let NormalizedOperands { x, moments, affine } = norm;
    let operands = NormalizeGradReduceInputs {
        x,
        dy,
        moments,
        affine,
    };
    launch_partial(lowering, op, operands, partial, &partition, slices);
}

/// Emits the dispatch that writes the partial gradients of scale and shift, one slice for each
/// of `partition`, to `partial`.
fn launch_partial(
    lowering: &mut Lowering<'_>,
    op: &NormalizeGradReduce,
    operands: NormalizeGradReduceInputs<ValueId>,
    of: ValueId,
    partition: &RowPartition,
    partial: Binding,
) {
    let storage = lowering.storage(operands.x);
    let operands = operands.list().into_iter();
    let mut bindings: Vec<_> = operands.map(|id| lowering.read(id)).collect();
    bindings.push(partial);
    let launch = Launch {
        kernel: SHADER.with_storage(storage, &partition.constants()),
        uniforms: Params::new(partition, op.epsilon, op.relu).words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.steps(),
    };
    lowering.launch(of, launch);
}
