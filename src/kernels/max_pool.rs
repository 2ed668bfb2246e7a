//! Host half of `shaders/max_pool.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::pooling::Params;
use super::row_partition::RowPartition;
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::MaxPool;

pub(super) const SHADER: Shader = shader!("max_pool", [Read, Write, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &MaxPool,
    node: &Node,
) -> Result<(), LowerError> {
    let x = op.inputs(&node.inputs).x;
    let results = op.outputs(&node.outputs);
    let (y, argmax) = (results.maximum, results.argmax);
    let partition = RowPartition::new(lowering.shape(y), lowering.target);
    let params = Params::new(&partition, op.pooling, lowering.shape(y), lowering.shape(x));
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(x), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(x), lowering.write(y), lowering.write(argmax)],
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.visits() * params.kernel * params.kernel,
    };
    lowering.launch(y, launch);
    Ok(())
}
