//! Host half of `shaders/conv2d_direct.wgsl`, `shaders/conv2d_grad_input_direct.wgsl` and
//! `shaders/conv2d_grad_weight_direct.wgsl`.

use super::super::lower::{Launch, Lowering};
use super::super::shader::{Shader, parameters};
use super::super::{grid, sum_slices};
use super::Sizes;
use crate::graph::Node;
use crate::program::Access::{Read, Write};

const FORWARD: Shader = Shader {
    name: "conv2d_direct",
    text: include_str!("../../../shaders/conv2d_direct.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

const GRAD_INPUT: Shader = Shader {
    name: "conv2d_grad_input_direct",
    text: include_str!("../../../shaders/conv2d_grad_input_direct.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

const GRAD_WEIGHT: Shader = Shader {
    name: "conv2d_grad_weight_direct",
    text: include_str!("../../../shaders/conv2d_grad_weight_direct.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

/// Pixels of one invocation of the forward kernel: `PIXELS` in the shader.
const PIXELS: usize = 4;

/// Invocations that the weight gradient should have, to fill a large GPU.
const INVOCATIONS: usize = 1 << 16;

/// Slices of the weight gradient, at most, and pixels of one, at least.
const MAX_SLICES: usize = 64;
const MIN_CHUNK: usize = 64;

parameters! {
    struct ForwardParams {
        /// Invocations that have work.
        count,
        /// Pixels of y.
        pixels,
        h,
        w,
        p,
        q,
        kernel_h,
        kernel_w,
        stride,
        padding,
        /// Groups of four channels of x and y.
        input_columns,
        output_columns,
    }
}

parameters! {
    struct GradInputParams {
        /// Invocations that have work.
        count,
        h,
        w,
        p,
        q,
        kernel_h,
        kernel_w,
        stride,
        padding,
        input_columns,
        output_columns,
    }
}

parameters! {
    struct GradWeightParams {
        /// Blocks of 4x4 channels.
        blocks,
        /// Pixels of y.
        pixels,
        /// Pixels of a slice.
        chunk,
        h,
        w,
        p,
        q,
        kernel_w,
        stride,
        padding,
        input_columns,
        output_columns,
    }
}

pub(super) fn forward(lowering: &mut Lowering<'_>, sizes: &Sizes, node: &Node) {
    let y = node.outputs[0];
    let [input_columns, output_columns] = sizes.columns();
    let pixels = sizes.pixels()[1];
    let count = pixels.div_ceil(PIXELS) * output_columns;
    let params = ForwardParams {
        count: count as u32,
        pixels: pixels as u32,
        h: sizes.input[0] as u32,
        w: sizes.input[1] as u32,
        p: sizes.output[0] as u32,
        q: sizes.output[1] as u32,
        kernel_h: sizes.kernel[0] as u32,
        kernel_w: sizes.kernel[1] as u32,
        stride: sizes.window.stride as u32,
        padding: sizes.window.padding as u32,
        input_columns: input_columns as u32,
        output_columns: output_columns as u32,
    };
    let launch = Launch {
        kernel: FORWARD.kernel(),
        uniforms: params.words(),
        bindings: vec![
            lowering.read(node.inputs[0]),
            lowering.read(node.inputs[1]),
            lowering.write(y),
        ],
        grid: grid(count.div_ceil(64)),
        flops: lowering.flops(node),
    };
    lowering.launch(y, launch);
}

pub(super) fn grad_input(lowering: &mut Lowering<'_>, sizes: &Sizes, node: &Node) {
    let dx = node.outputs[0];
    let [input_columns, output_columns] = sizes.columns();
    let count = sizes.pixels()[0] * input_columns;
    let params = GradInputParams {
        count: count as u32,
        h: sizes.input[0] as u32,
        w: sizes.input[1] as u32,
        p: sizes.output[0] as u32,
        q: sizes.output[1] as u32,
        kernel_h: sizes.kernel[0] as u32,
        kernel_w: sizes.kernel[1] as u32,
        stride: sizes.window.stride as u32,
        padding: sizes.window.padding as u32,
        input_columns: input_columns as u32,
        output_columns: output_columns as u32,
    };
    let launch = Launch {
        kernel: GRAD_INPUT.kernel(),
        uniforms: params.words(),
        bindings: vec![
            lowering.read(node.inputs[0]),
            lowering.read(node.inputs[1]),
            lowering.write(dx),
        ],
        grid: grid(count.div_ceil(64)),
        flops: lowering.flops(node),
    };
    lowering.launch(dx, launch);
}

pub(super) fn grad_weight(lowering: &mut Lowering<'_>, sizes: &Sizes, node: &Node) {
    let dw = node.outputs[0];
    let [input_columns, output_columns] = sizes.columns();
    let blocks = sizes.kernel[0] * sizes.kernel[1] * input_columns * output_columns;
    let pixels = sizes.pixels()[1];
    let bytes = lowering.shape(dw).bytes();
    let wanted = INVOCATIONS
        .div_ceil(blocks)
        .min(pixels.div_ceil(MIN_CHUNK))
        .min((lowering.target.max_binding / bytes) as usize)
        .clamp(1, MAX_SLICES);
    let chunk = pixels.div_ceil(wanted);
    let slices = pixels.div_ceil(chunk);
    let params = GradWeightParams {
        blocks: blocks as u32,
        pixels: pixels as u32,
        chunk: chunk as u32,
        h: sizes.input[0] as u32,
        w: sizes.input[1] as u32,
        p: sizes.output[0] as u32,
        q: sizes.output[1] as u32,
        kernel_w: sizes.kernel[1] as u32,
        stride: sizes.window.stride as u32,
        padding: sizes.window.padding as u32,
        input_columns: input_columns as u32,
        output_columns: output_columns as u32,
    };
    let partial = lowering.scratch(dw, bytes * slices as u64);
    let launch = Launch {
        kernel: GRAD_WEIGHT.kernel(),
        uniforms: params.words(),
        bindings: vec![
            lowering.read(node.inputs[0]),
            lowering.read(node.inputs[1]),
            partial.clone(),
        ],
        grid: [blocks.div_ceil(64) as u32, slices as u32, 1],
        flops: lowering.flops(node),
    };
    lowering.launch(dw, launch);
    sum_slices::launch(lowering, &partial, dw);
}

#[cfg(test)]
mod tests {
    use super::super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&FORWARD, ForwardParams::NAMES);
        check_twin(&GRAD_INPUT, GradInputParams::NAMES);
        check_twin(&GRAD_WEIGHT, GradWeightParams::NAMES);
    }
}
