//! Host half of `shaders/max_pool_grad.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::pooling::Params;
use super::row_partition::RowPartition;
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::MaxPoolGrad;

pub(super) const SHADER: Shader = shader!("max_pool_grad", [Read, Read, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &MaxPoolGrad,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let (dy, argmax, dx) = (named.dy, named.argmax, node.outputs[0]);
    let partition = RowPartition::new(lowering.shape(dx), lowering.target);
    let params = Params::new(
        &partition,
        op.pooling,
        lowering.shape(dy),
        lowering.shape(dx),
    );
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(dx), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(dy), lowering.read(argmax), lowering.write(dx)],
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.visits() * params.windows(),
    };
    lowering.launch(dx, launch);
    Ok(())
}
