//! Host half of `shaders/batch_moments.wgsl`: partial moments of slices of the rows, which
//! [`merge_moments`] combines.

use super::lowering::{Launch, LowerError, Lowering};
use super::merge_moments;
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters, shader};
use crate::graph::ops::BatchMoments;
use crate::graph::{Node, ValueId};
use crate::program::Binding;
use crate::shape::Shape;

pub(super) const SHADER: Shader = shader!("batch_moments", [Read, Write], Params);

parameters! {
    struct Params {
        rows,
        /// Groups of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &BatchMoments,
    node: &Node,
) -> Result<(), LowerError> {
    let x = op.inputs(&node.inputs).x;
    let results = op.outputs(&node.outputs);
    let shape = lowering.shape(x);
    let slice = Shape::slices(&[3, shape.last()]);
    let partial = partial(lowering, x, results.moments, |lowering, slices| {
        lowering.scratch(results.moments, u64::from(slices) * slice.bytes())
    });
    let running = op.running.as_ref().zip(results.running);
    merge_moments::launch(lowering, &partial, shape.rows(), running, results.moments);
    Ok(())
}

/// Emits the dispatch that leaves the partial moments of x where `place` says, given the number
/// of slices.
pub(super) fn partial(
    lowering: &mut Lowering<'_>,
    x: ValueId,
    of: ValueId,
    place: impl FnOnce(&mut Lowering<'_>, u32) -> Binding,
) -> Binding {
    let partition = RowPartition::reduction(lowering.shape(x));
    let partial = place(lowering, partition.slices());
    let params = Params {
        rows: partition.rows,
        columns: partition.columns,
        chunk: partition.chunk,
    };
    let launch = Launch {
        kernel: SHADER.suited(lowering.memory(x), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(x), partial.clone()],
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(of, launch);
    partial
}
