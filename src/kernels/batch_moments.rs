//! Host half of `shaders/batch_moments.wgsl`: partial statistics of slices of the rows, which
//! [`merge_moments`] combines.

use super::lowering::{Launch, LowerError, Lowering};
use super::merge_moments;
use super::row_partition::{Params, RowPartition};
use super::shader::{Shader, shader};
use crate::graph::ops::BatchMoments;
use crate::graph::{Node, ValueId};
use crate::program::Binding;
use crate::shape::Shape;

pub(super) const SHADER: Shader = shader!("batch_moments", [Read, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &BatchMoments,
    node: &Node,
) -> Result<(), LowerError> {
    let x = op.inputs(&node.inputs).x;
    let results = op.outputs(&node.outputs);
    let shape = lowering.shape(x);
    let slice = Shape::slices(&[3, shape.last()]);
    let partition = RowPartition::reduction(shape, lowering.target);
    let bytes = u64::from(partition.slices()) * slice.bytes();
    let partial = lowering.scratch(results.moments, "slices", bytes);
    launch_partial(lowering, x, results.moments, &partition, partial.clone());
    let running = op.running.as_ref().zip(results.running);
    merge_moments::launch(lowering, &partial, shape.rows(), running, results.moments);
    Ok(())
}

/// Emits the dispatch that writes the partial statistics of x, one slice for each of
/// `partition`, to `partial`.
pub(super) fn launch_partial(
    lowering: &mut Lowering<'_>,
    x: ValueId,
    of: ValueId,
    partition: &RowPartition,
    partial: Binding,
) {
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(x), &partition.constants()),
        uniforms: partition.params().words(),
        bindings: vec![lowering.read(x), partial],
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.steps(),
    };
    lowering.launch(of, launch);
}
