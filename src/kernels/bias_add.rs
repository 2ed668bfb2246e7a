//! Host half of `shaders/bias_add.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::{Params, RowPartition};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::BiasAdd;

pub(super) const SHADER: Shader = shader!("bias_add", [Read, Read, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    _: &BiasAdd,
    node: &Node,
) -> Result<(), LowerError> {
    let y = node.outputs[0];
    let partition = RowPartition::new(lowering.shape(y), lowering.target);
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(y));
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: partition.params().words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.visits(),
    };
    lowering.launch(y, launch);
    Ok(())
}
