//! Host half of `shaders/global_average_pool_grad.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::GlobalAveragePoolGrad;

pub(super) const SHADER: Shader = shader!("global_average_pool_grad", [Read, Write], Params);

parameters! {
    struct Params {
        rows,
        columns,
        /// Rows of a workgroup.
        chunk,
        /// Pixels of the feature maps of one mean.
        pixels,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &GlobalAveragePoolGrad,
    node: &Node,
) -> Result<(), LowerError> {
    let (dy, dx) = (op.inputs(&node.inputs).dy, node.outputs[0]);
    let shape = lowering.shape(dx);
    let partition = RowPartition::new(shape, lowering.target);
    let params = Params {
        rows: partition.rows,
        columns: partition.columns,
        chunk: partition.chunk,
        pixels: (op.views * shape.dims[1] * shape.dims[2]) as u32,
    };
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(dx), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(dy), lowering.write(dx)],
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.visits(),
    };
    lowering.launch(dx, launch);
    Ok(())
}
