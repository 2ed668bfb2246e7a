//! Host half of `shaders/assemble_batch.wgsl`.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::AssembleBatch;
use crate::shape::PixelFormat;

pub(super) const SHADER: Shader =
    shader!("assemble_batch", [Read, Read, Read, Read, Write], Params);

/// The index of the image and the step, from which the position of the pixel follows; its values.
const SERIAL_STEPS: u32 = 2;

parameters! {
    struct Params {
        /// N·size·size.
        pixels,
        size,
        /// Words of one image.
        words,
        /// 1 for images in single precision, 0 for bytes.
        floats,
        padding,
        /// 1 to flip at random.
        flip,
        /// 1 for blue, green, red.
        bgr,
        mean_red,
        mean_green,
        mean_blue,
        std_red,
        std_green,
        std_blue,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &AssembleBatch,
    node: &Node,
) -> Result<(), LowerError> {
    let x = node.outputs[0];
    let pixels = lowering.shape(x).rows();
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(x));
    let [mean, std] = [op.mean, op.std].map(|rgb| rgb.map(f32::to_bits));
    let params = Params {
        pixels: pixels as u32,
        size: op.size as u32,
        words: AssembleBatch::image_words(op.size, op.pixels) as u32,
        floats: u32::from(op.pixels == PixelFormat::F32),
        padding: op.padding as u32,
        flip: u32::from(op.flip),
        bgr: u32::from(!op.order.is_rgb()),
        mean_red: mean[0],
        mean_green: mean[1],
        mean_blue: mean[2],
        std_red: std[0],
        std_green: std[1],
        std_blue: std[2],
    };
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(x), &[]),
        uniforms: params.words(),
        bindings,
        grid: grid(pixels.div_ceil(64)),
        flops: 0,
        serial_steps: SERIAL_STEPS,
    };
    lowering.launch(x, launch);
    Ok(())
}
