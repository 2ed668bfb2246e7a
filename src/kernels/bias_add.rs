//! Host half of `shaders/bias_add.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::BiasAdd;

pub(super) const SHADER: Shader = shader!("bias_add", [Read, Read, Write], Params);

parameters! {
    struct Params {
        rows,
        /// Groups of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
    }
}

impl Params {
    fn new(partition: &RowPartition) -> Params {
        Params {
            rows: partition.rows,
            columns: partition.columns,
            chunk: partition.chunk,
        }
    }
}

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
        uniforms: Params::new(&partition).words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(y, launch);
    Ok(())
}
