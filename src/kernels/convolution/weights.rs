//! Host half of `shaders/conv2d_grad_weight_tiled.wgsl`, `shaders/conv2d_grad_weight_matrix.wgsl`,
//! `shaders/conv2d_grad_weight_subgroup.wgsl`, `shaders/conv2d_grad_weight_subgroup_window.wgsl`
//! and `shaders/conv2d_grad_weight_direct.wgsl`: the weight gradient.
//!
//! The result is small and its sums are long, so they are split: each workgroup sums a slice of
//! the rows of y, and [`sum_slices`] adds the slices in order, in a later dispatch.

use super::super::lowering::{Launch, LowerError, Lowering};
use super::super::shader::{Shader, matrix_form, parameters, shader};
use super::super::sum_slices;
use super::tiles::{Tile, load_batch};
use super::{DIRECT_VECS, DIRECT_WORKGROUP, Family, FusedNorm, Sizes, chunk_vecs, weights_family};
use crate::graph::Node;
use crate::graph::ops::{Conv2dGradWeight, NormOperands};
use crate::program::Kernel;

const SUBGROUP: Shader = shader!(
    "conv2d_grad_weight_subgroup",
    [Read, Read, Write, Read, Read],
    Params,
);

const WINDOW: Shader = shader!(
    "conv2d_grad_weight_subgroup_window",
    [Read, Read, Write, Read, Read],
    Params,
);

const TILED: Shader = shader!(
    "conv2d_grad_weight_tiled",
    [Read, Read, Write, Read, Read],
    Params
);

const MATRIX: Shader = shader!(
    "conv2d_grad_weight_matrix",
    [Read, Read, Write, Read, Read],
    Params,
);

const DIRECT: Shader = shader!(
    "conv2d_grad_weight_direct",
    [Read, Read, Write, Read, Read],
    Params
);

/// All shaders of this file.
pub(super) const SHADERS: [&Shader; 5] = [&SUBGROUP, &WINDOW, &TILED, &MATRIX, &DIRECT];

/// Pixels that a workgroup of the subgroup family processes in a step, and the maximum number of
/// vectors of output channels that it owns: more of them reuse each input vector more often.
const SUBGROUP_PIXELS: u32 = 4;
const SUBGROUP_VECS: u32 = 10;

/// The same for its window kernel, and the columns of taps that this one supports.
const WINDOW_PIXELS: u32 = 2;
const WINDOW_VECS: u32 = 5;
const WINDOW_TAPS: usize = 3;

/// Workgroups of the subgroup family that load the cores of a processor evenly.
const SUBGROUP_WORKGROUPS: usize = 48;

/// Workgroups of the tiled and matrix families that fill a large GPU.
const TILED_WORKGROUPS: usize = 1024;

/// Invocations of the direct family that fill a GPU without making the scratch buffer large.
const DIRECT_INVOCATIONS: usize = 16_384;

/// Maximum number of slices.
const MAX_SLICES: usize = 256;

/// Share of the operands' bytes that all slices may have: writing and reading them must cost less
/// than reading the operands.
const SLICES_SHARE: f64 = 0.4;

parameters! {
    struct Params {
        batch,
        input_height,
        input_width,
        input_vecs,
        output_height,
        output_width,
        output_vecs,
        kernel_height,
        kernel_width,
        stride_height,
        stride_width,
        padding_height,
        padding_width,
        /// Rows of y, counted over the whole batch, in one slice.
        lines_per_slice,
        /// Float: epsilon of the normalisation of x.
        epsilon,
        /// 1 if ReLU follows it.
        relu,
    }
}

/// Emits the dispatches of a weight gradient.
pub(in super::super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Conv2dGradWeight,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let (x, dy, dw) = (named.x, named.dy, node.outputs[0]);
    let sizes = Sizes::new(lowering, x, dw, dy, op.window);
    let family = weights_family(lowering, &sizes, op.normalize_input.is_some())?;
    let bytes = lowering.shape(dw).bytes();
    let lines = sizes.batch * sizes.output[0];
    let quads = sizes.kernel[0] * sizes.kernel[1] * sizes.input_vecs();
    let vecs = sizes.output_vecs() as u32;
    let memory = lowering.storage(x);
    let normalize_input = ("NORMALIZE_INPUT", u32::from(op.normalize_input.is_some()));
    let by_tiles = |kernel: Kernel, tile: &Tile| {
        let [groups, chunks] = tile.tiles(quads as u32, vecs).map(|n| n as usize);
        let enough = TILED_WORKGROUPS.div_ceil(groups * chunks);
        (kernel, groups, chunks, enough, Pace::Slice(tile.depth))
    };
    let (kernel, groups, chunks, enough, pace) = match family {
        Family::Subgroup { size } if sizes.window.stride == 1 && sizes.kernel[1] == WINDOW_TAPS => {
            let width = chunk_vecs(vecs, WINDOW_VECS);
            let taps = WINDOW_TAPS as u32;
            let constants = [
                ("SUBGROUP", size),
                ("PIXELS", WINDOW_PIXELS),
                ("OUT_VECS", width),
                ("TAPS", taps),
                ("KEPT", taps - 1),
                ("GRADIENT_LOADS", (WINDOW_PIXELS * width).div_ceil(size)),
                normalize_input,
            ];
            let kernel = WINDOW.with_storage(memory, &constants);
            let groups = (sizes.kernel[0] * sizes.input_vecs()).div_ceil(size as usize);
            let chunks = vecs.div_ceil(width) as usize;
            let enough = SUBGROUP_WORKGROUPS.div_ceil(groups * chunks);
            (kernel, groups, chunks, enough, Pace::Line(WINDOW_PIXELS))
        }
        Family::Subgroup { size } => {
            let width = chunk_vecs(vecs, SUBGROUP_VECS);
            let constants = [
                ("SUBGROUP", size),
                ("PIXELS", SUBGROUP_PIXELS),
                ("OUT_VECS", width),
                ("GRADIENT_LOADS", (SUBGROUP_PIXELS * width).div_ceil(size)),
                normalize_input,
            ];
            let kernel = SUBGROUP.with_storage(memory, &constants);
            let groups = quads.div_ceil(size as usize);
            let chunks = vecs.div_ceil(width) as usize;
            let enough = SUBGROUP_WORKGROUPS.div_ceil(groups * chunks);
            (kernel, groups, chunks, enough, Pace::Line(SUBGROUP_PIXELS))
        }
        Family::Tiled(tile) => {
            let mut constants = tile_constants(tile);
            constants.push(normalize_input);
            by_tiles(TILED.with_storage(memory.narrow(), &constants), tile)
        }
        Family::Matrix(matrix) => {
            let mut constants = tile_constants(&matrix.tile);
            constants.extend(matrix.constants());
            constants.push(normalize_input);
            let kernel = MATRIX.with_piece(matrix_form(matrix.unit), memory.narrow(), &constants);
            by_tiles(kernel, &matrix.tile)
        }
        Family::Direct => {
            let constants = [
                ("WORKGROUP", DIRECT_WORKGROUP),
                ("OUT_VECS", DIRECT_VECS),
                normalize_input,
            ];
            let kernel = DIRECT.with_storage(memory.narrow(), &constants);
            let blocks = quads * vecs.div_ceil(DIRECT_VECS) as usize;
            let groups = blocks.div_ceil(DIRECT_WORKGROUP as usize);
            let enough = DIRECT_INVOCATIONS.div_ceil(blocks);
            (kernel, groups, 1, enough, Pace::Line(1))
        }
    };
    let operands = lowering.shape(x).bytes() + lowering.shape(dy).bytes();
    let affordable = (SLICES_SHARE * operands as f64 / bytes as f64) as usize;
    let most = (lowering.target.max_binding / bytes) as usize;
    let slices = enough.min(MAX_SLICES).min(affordable).min(most).max(1);
    let lines_per_slice = lines.div_ceil(slices);
    let slices = lines.div_ceil(lines_per_slice);
    let norm = FusedNorm::new(&op.normalize_input, named.normalize_input);
    let [epsilon, relu] = FusedNorm::parameters(norm);
    let params = Params {
        batch: sizes.batch as u32,
        input_height: sizes.input[0] as u32,
        input_width: sizes.input[1] as u32,
        input_vecs: sizes.input_vecs() as u32,
        output_height: sizes.output[0] as u32,
        output_width: sizes.output[1] as u32,
        output_vecs: vecs,
        kernel_height: sizes.kernel[0] as u32,
        kernel_width: sizes.kernel[1] as u32,
        stride_height: sizes.window.stride as u32,
        stride_width: sizes.window.stride as u32,
        padding_height: sizes.window.padding as u32,
        padding_width: sizes.window.padding as u32,
        lines_per_slice: lines_per_slice as u32,
        epsilon,
        relu,
    };
    // Without a normalisation the shader does not read its operands.
    let norm = named.normalize_input.unwrap_or(NormOperands {
        moments: dy,
        affine: dy,
    });
    let partial = lowering.scratch(dw, "slices", bytes * slices as u64);
    let launch = Launch {
        kernel,
        uniforms: params.words(),
        bindings: vec![
            lowering.read(x),
            lowering.read(dy),
            partial.clone(),
            lowering.read(norm.moments),
            lowering.read(norm.affine),
        ],
        grid: [groups as u32, slices as u32, chunks as u32],
        flops: lowering.flops(node),
        serial_steps: pace.steps(lines_per_slice, sizes.output[1]),
    };
    lowering.launch(dw, launch);
    sum_slices::defer(lowering, &partial, dw);
    Ok(())
}

/// Pixels whose operands an invocation loads at a time.
enum Pace {
    /// Within each line of a slice.
    Line(u32),
    /// Through the whole slice.
    Slice(u32),
}

impl Pace {
    /// Steps of a slice of some lines.
    fn steps(&self, lines: usize, width: usize) -> u32 {
        let steps = match *self {
            Pace::Line(pixels) => lines * width.div_ceil(pixels as usize),
            Pace::Slice(pixels) => (lines * width).div_ceil(pixels as usize),
        };
        steps as u32
    }
}

/// Constants of the piece `conv2d_grad_weight_tile`.
fn tile_constants(tile: &Tile) -> Vec<(&'static str, u32)> {
    let loads = |vectors: u32| (tile.depth * vectors).div_ceil(tile.workgroup);
    let input_loads = loads(tile.tile_rows());
    let batch = load_batch(input_loads);
    vec![
        ("WORKGROUP", tile.workgroup),
        ("VEC_LANES", tile.vec_lanes),
        ("QUADS", tile.rows),
        ("OUT_VECS", tile.vecs),
        ("PIXELS", tile.depth),
        ("INPUT_BATCHES", input_loads / batch),
        ("LOAD_BATCH", batch),
        ("GRADIENT_LOADS", loads(tile.tile_vecs())),
    ]
}
