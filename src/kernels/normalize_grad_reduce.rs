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
    let bytes = lowering.shape(daffine).bytes();
    let operands = op.inputs(&node.inputs);
    let partial = partial(lowering, op, operands, daffine, |lowering, slices| {
        lowering.scratch(daffine, u64::from(slices) * bytes)
    });
    sum_slices::launch(lowering, &partial, daffine);
    Ok(())
}

/// Emits the dispatch that leaves the partial gradients of scale and shift where `place` says,
/// given the number of slices.
pub(super) fn partial(
    lowering: &mut Lowering<'_>,
    op: &NormalizeGradReduce,
    operands: NormalizeGradReduceInputs<ValueId>,
    of: ValueId,
    place: impl FnOnce(&mut Lowering<'_>, u32) -> Binding,
) -> Binding {
    let x = operands.x;
    let partition = RowPartition::reduction(lowering.shape(x));
    let partial = place(lowering, partition.slices());
    let operands = operands.list().into_iter();
    let mut bindings: Vec<_> = operands.map(|id| lowering.read(id)).collect();
    bindings.push(partial.clone());
    let launch = Launch {
        kernel: SHADER.suited(lowering.memory(x), &[]),
        uniforms: Params::new(&partition, op.epsilon, op.relu).words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(of, launch);
    partial
}
