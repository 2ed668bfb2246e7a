//! Host half of `shaders/global_average_pool.wgsl`.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::GlobalAveragePool;
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("global_average_pool", [Read, Write], Params);

parameters! {
    struct Params {
        /// Vectors of y.
        count,
        /// Pixels of the feature maps of an image.
        pixels,
        /// Vectors of four channels.
        columns,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &GlobalAveragePool,
    node: &Node,
) -> Result<(), LowerError> {
    let (x, y) = (op.inputs(&node.inputs).x, node.outputs[0]);
    let dims = &lowering.shape(x).dims;
    let (images, columns) = (dims[0] / op.views, dims[3].div_ceil(LANES));
    let params = Params {
        count: (images * columns) as u32,
        pixels: (op.views * dims[1] * dims[2]) as u32,
        columns: columns as u32,
    };
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(x), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(x), lowering.write(y)],
        grid: grid((images * columns).div_ceil(64)),
        flops: 0,
        serial_steps: params.pixels,
    };
    lowering.launch(y, launch);
    Ok(())
}
