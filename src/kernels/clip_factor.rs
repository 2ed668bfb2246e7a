//! Host half of `shaders/clip_factor.wgsl` and `shaders/clip_factor_squares.wgsl`.

use super::arenas;
use super::lowering::{Launch, LowerError, Lowering, reading};
use super::shader::{Shader, parameters, shader};
use super::{WORKGROUP, grid};
use crate::graph::Node;
use crate::graph::ops::ClipFactor;
use crate::program::Access::Read;
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("clip_factor", [Read, Write], Params);
pub(super) const SQUARES: Shader =
    shader!("clip_factor_squares", [Read, Read, Write], SquaresParams);

/// Vectors of four that a workgroup sums; the partition depends on nothing else but the
/// largest binding, so that the sum has the same bits on the same adapter.
const SLICE: u64 = 4096;

parameters! {
    struct SquaresParams {
        /// Vectors of four.
        count,
        /// Vectors in a slice.
        slice,
        /// Number of the first slice.
        first,
    }
}

parameters! {
    struct Params {
        /// Number of slices.
        slices,
        /// Float: the largest norm.
        max_norm,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &ClipFactor,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let factor = node.outputs[0];
    let parts = arenas::parts(lowering, &[(named.gradients.as_slice(), Read)]);
    let vectors = |part: &arenas::Part| part.bindings[0].bytes / (4 * LANES as u64);
    let slices = |part: &arenas::Part| vectors(part).div_ceil(SLICE) as u32;
    let total: u32 = parts.iter().map(slices).sum();
    let squares = lowering.scratch(factor, "squares", 8 * u64::from(total));
    let kernel = SQUARES.variant(&[("SCALED", u32::from(op.scaled))]);
    let mut first = 0;
    for part in parts {
        let params = SquaresParams {
            count: vectors(&part) as u32,
            slice: SLICE as u32,
            first,
        };
        let own = slices(&part);
        first += own;
        let gradients = part.bindings[0].clone();
        // Where the loss is not scaled the shader does not read its scale.
        let scale = match named.scale {
            Some(scale) => lowering.read(scale),
            None => gradients.clone(),
        };
        let launch = Launch {
            kernel: kernel.clone(),
            uniforms: params.words(),
            bindings: vec![gradients, scale, squares.clone()],
            grid: grid(own as usize),
            flops: 0,
            serial_steps: (SLICE as u32).div_ceil(WORKGROUP),
        };
        lowering.launch(factor, launch);
    }
    let params = Params {
        slices: total,
        max_norm: op.max_norm.to_bits(),
    };
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: params.words(),
        bindings: vec![reading(&squares), lowering.write(factor)],
        grid: [1, 1, 1],
        flops: 0,
        serial_steps: total.div_ceil(WORKGROUP),
    };
    lowering.launch(factor, launch);
    Ok(())
}
