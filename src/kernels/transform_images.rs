//! Host half of `shaders/transform_images.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use super::{WORKGROUP, grid};
use crate::graph::Node;
use crate::graph::ops::TransformImages;

pub(super) const SHADER: Shader = shader!("transform_images", [Read, Read, Read, Write], Params);

/// Loads of the transform that has the most, sharpness, for a word of four bytes: each byte and its
/// neighbourhood, one after another.
const BYTE_LOADS: u32 = 4 * (1 + 9);

parameters! {
    struct Params {
        /// Images that are written.
        count,
        /// Height and width of an image.
        size,
        /// Words of an image.
        words,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &TransformImages,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let y = node.outputs[0];
    let shape = lowering.shape(y);
    let count = shape.rows();
    let params = Params {
        count: count as u32,
        size: op.size as u32,
        words: shape.last() as u32,
    };
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: params.words(),
        bindings: vec![
            lowering.read(named.images),
            lowering.read(named.rows),
            lowering.read(named.transforms),
            lowering.write(y),
        ],
        grid: grid(count),
        flops: 0,
        // The number of the image and its transform come first.
        serial_steps: 1 + BYTE_LOADS * params.words.div_ceil(WORKGROUP),
    };
    lowering.launch(y, launch);
    Ok(())
}
