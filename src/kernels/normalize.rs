//! Host half of `shaders/normalize.wgsl`.

use super::batch_norm::Params;
use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::Normalize;

pub(super) const SHADER: Shader = shader!("normalize", [Read, Read, Read, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Normalize,
    node: &Node,
) -> Result<(), LowerError> {
    let y = node.outputs[0];
    let partition = RowPartition::new(lowering.shape(y), lowering.target);
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(y));
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(y), &partition.constants()),
        uniforms: Params::new(&partition, op.epsilon, op.relu).words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.steps(),
    };
    lowering.launch(y, launch);
    Ok(())
}
