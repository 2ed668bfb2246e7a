//! Host half of `shaders/normalize_grad_reduce.wgsl`.

use super::batch_norm::Params;
use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, shader};
use super::sum_slices;
use crate::graph::ops::{NormalizeGradReduce, NormalizeGradReduceInputs};
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

/// Emits the dispatch that writes the partial gradients of scale and shift, one slice for each
/// of `partition`, to `partial`.
pub(super) fn launch_partial(
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
