//! Host half of `shaders/conv2d_tiled.wgsl`, `shaders/conv2d_matrix.wgsl`,
//! `shaders/conv2d_subgroup.wgsl`, `shaders/conv2d_subgroup_window.wgsl` and
//! `shaders/conv2d_direct.wgsl`: each result pixel from the source pixels that its taps reach.

use super::super::grid;
use super::super::lowering::{Launch, Lowering, reading};
use super::super::shader::{Shader, StorageForms, matrix_form, parameters, shader};
use super::epilogue::{self, Epilogue};
use super::tiles::{MatrixTile, Tile, load_batch};
use super::{Convolution, DIRECT_VECS, DIRECT_WORKGROUP, Family, FusedNorm, Sizes, chunk_vecs};
use crate::graph::ValueId;
use crate::graph::ops::{NormOperands, Taps};
use crate::program::{Binding, Kernel};

const SUBGROUP: Shader = shader!(
    "conv2d_subgroup",
    [Read, Read, Write, Read, Read, Read, Read, Write],
    Params,
);

const WINDOW: Shader = shader!(
    "conv2d_subgroup_window",
    [Read, Read, Write, Read, Read, Read, Read, Write],
    Params,
);

const TILED: Shader = shader!(
    "conv2d_tiled",
    [Read, Read, Write, Read, Read, Read, Read, Write],
    Params
);

const MATRIX: Shader = shader!(
    "conv2d_matrix",
    [Read, Read, Write, Read, Read, Read, Read, Write],
    Params,
);

const DIRECT: Shader = shader!(
    "conv2d_direct",
    [Read, Read, Write, Read, Read, Read, Read, Write],
    Params
);

/// All shaders of this file.
pub(super) const SHADERS: [&Shader; 5] = [&SUBGROUP, &WINDOW, &TILED, &MATRIX, &DIRECT];

/// Pixels of an invocation of the subgroup family, and the maximum number of vectors of result
/// channels of a workgroup.
///
/// Larger numbers reuse each load more often, but the unrolled code grows with their product: it
/// takes a second to compile and must fit the processor's instruction cache. Wider chunks with
/// fewer pixels are as fast, but there are more widths to compile.
const SUBGROUP_PIXELS: u32 = 8;
const SUBGROUP_VECS: u32 = 5;

/// Maximum number of rows of taps in the window kernel of the subgroup family.
const WINDOW_TAPS: u32 = 3;

/// Pixels that an invocation of the direct family owns.
const DIRECT_PIXELS: u32 = 4;

parameters! {
    struct Params {
        batch,
        source_height,
        source_width,
        source_vecs,
        result_height,
        result_width,
        result_vecs,
        /// Pixels of the stride phase, and their positions in the result.
        count_height,
        count_width,
        out_offset_height,
        out_offset_width,
        out_step_height,
        out_step_width,
        /// Signed: position in the source of the first tap of a pixel.
        source_base_height,
        source_base_width,
        source_step_height,
        source_step_width,
        /// Taps of the stride phase, and (signed) their positions in the kernel.
        taps_height,
        taps_width,
        tap_first_height,
        tap_first_width,
        tap_step_height,
        tap_step_width,
        kernel_width,
        /// Float: epsilon of the normalisation of the result.
        epsilon,
        /// 1 if ReLU follows it.
        relu,
        /// The same for the source.
        source_epsilon,
        source_relu,
        /// First slice of the partial statistics.
        first_slice,
    }
}

/// A signed parameter.
fn signed(value: isize) -> u32 {
    value as i32 as u32
}

impl Params {
    /// The convolution itself: one dispatch covers the whole output.
    fn forward(sizes: &Sizes) -> Params {
        let taps = [0, 1].map(|axis| sizes.window.forward(sizes.input[axis], sizes.kernel[axis]));
        let source = (sizes.input, sizes.input_vecs());
        Params::new(sizes, source, (sizes.output, sizes.output_vecs()), taps)
    }

    /// The input gradient: one dispatch for each stride phase of input pixels.
    fn grad_input(sizes: &Sizes) -> Vec<Params> {
        let phases = |axis| sizes.window.backward(sizes.input[axis], sizes.kernel[axis]);
        let source = (sizes.output, sizes.output_vecs());
        let result = (sizes.input, sizes.input_vecs());
        phases(0)
            .flat_map(|height| phases(1).map(move |width| [height, width]))
            .map(|taps| Params::new(sizes, source, result, taps))
            .collect()
    }

    /// Source and result are given by their rows and columns, and vectors of channels.
    fn new(
        sizes: &Sizes,
        (source, source_vecs): ([usize; 2], usize),
        (result, result_vecs): ([usize; 2], usize),
        [height, width]: [Taps; 2],
    ) -> Params {
        Params {
            batch: sizes.batch as u32,
            source_height: source[0] as u32,
            source_width: source[1] as u32,
            source_vecs: source_vecs as u32,
            result_height: result[0] as u32,
            result_width: result[1] as u32,
            result_vecs: result_vecs as u32,
            count_height: height.count as u32,
            count_width: width.count as u32,
            out_offset_height: height.first as u32,
            out_offset_width: width.first as u32,
            out_step_height: height.step as u32,
            out_step_width: width.step as u32,
            source_base_height: signed(height.source_base),
            source_base_width: signed(width.source_base),
            source_step_height: height.source_step as u32,
            source_step_width: width.source_step as u32,
            taps_height: height.taps as u32,
            taps_width: width.taps as u32,
            tap_first_height: signed(height.tap_first),
            tap_first_width: signed(width.tap_first),
            tap_step_height: signed(height.tap_step),
            tap_step_width: signed(width.tap_step),
            kernel_width: sizes.kernel[1] as u32,
            epsilon: 0,
            relu: 0,
            source_epsilon: 0,
            source_relu: 0,
            first_slice: 0,
        }
    }

    /// Pixels that the dispatch computes.
    fn pixels(&self) -> u32 {
        self.batch * self.count_height * self.count_width
    }

    /// Whether the window kernel of the subgroup family can compute the stride phase:
    /// neighbouring pixels share source pixels, and taps reach at most one column sideways.
    fn moves_by_one(&self) -> bool {
        let steps = [self.source_step_height, self.source_step_width];
        let first = self.source_base_width as i32;
        let last = first + self.taps_width as i32 - 1;
        steps == [1, 1]
            && self.taps_height <= WINDOW_TAPS
            && self.taps_height * self.taps_width > 1
            && first >= -1
            && last <= 1
    }

    /// The kernel of a family.
    fn kernel(
        &self,
        family: Family,
        specialization: &Specialization<'_>,
        memory: StorageForms,
    ) -> Kernel {
        let mut constants = match family {
            Family::Subgroup { size } => {
                let vecs = chunk_vecs(self.result_vecs, SUBGROUP_VECS);
                vec![
                    ("SUBGROUP", size),
                    ("PIXELS", SUBGROUP_PIXELS),
                    ("OUT_VECS", vecs),
                    ("WEIGHT_LOADS", (4 * vecs).div_ceil(size)),
                ]
            }
            Family::Tiled(tile) => tile_constants(tile),
            Family::Matrix(matrix) => {
                let mut constants = tile_constants(&matrix.tile);
                constants.extend(matrix.constants());
                constants
            }
            Family::Direct => vec![
                ("WORKGROUP", DIRECT_WORKGROUP),
                ("PIXELS", DIRECT_PIXELS),
                ("OUT_VECS", DIRECT_VECS),
            ],
        };
        let window = self.moves_by_one();
        if let (Family::Subgroup { size }, true) = (family, window) {
            let rows = SUBGROUP_PIXELS + WINDOW_TAPS - 1;
            constants.extend([
                ("TAPS", WINDOW_TAPS),
                ("ROWS", rows),
                ("MOVES", rows - 1),
                ("EDGE_LOADS", (2 * rows).div_ceil(size)),
            ]);
        }
        constants.extend([
            ("TRANSPOSED", u32::from(specialization.transposed)),
            (
                "NORMALIZE_INPUT",
                u32::from(specialization.normalize_input.is_some()),
            ),
            (
                "NORMALIZE_OUTPUT",
                u32::from(specialization.normalize_output.is_some()),
            ),
        ]);
        constants.extend(specialization.epilogue.constants());
        match family {
            Family::Subgroup { .. } if window => WINDOW.with_storage(memory, &constants),
            Family::Subgroup { .. } => SUBGROUP.with_storage(memory, &constants),
            Family::Tiled(_) => TILED.with_storage(memory.narrow(), &constants),
            Family::Matrix(matrix) => {
                MATRIX.with_piece(matrix_form(matrix.unit), memory.narrow(), &constants)
            }
            Family::Direct => DIRECT.with_storage(memory.narrow(), &constants),
        }
    }

    /// Workgroups: blocks of pixels along x and y, chunks of channels along z.
    fn grid(&self, family: Family) -> [u32; 3] {
        let (blocks, chunks) = match family {
            Family::Subgroup { size } => {
                let vecs = chunk_vecs(self.result_vecs, SUBGROUP_VECS);
                let blocks = match self.moves_by_one() {
                    true => {
                        self.batch
                            * self.count_height.div_ceil(SUBGROUP_PIXELS)
                            * self.count_width.div_ceil(size)
                    }
                    false => self.pixels().div_ceil(size * SUBGROUP_PIXELS),
                };
                (blocks, self.result_vecs.div_ceil(vecs))
            }
            Family::Tiled(tile) => tile.tiles(self.pixels(), self.result_vecs).into(),
            Family::Matrix(MatrixTile { tile, .. }) => {
                tile.tiles(self.pixels(), self.result_vecs).into()
            }
            Family::Direct => {
                let chunks = self.result_vecs.div_ceil(DIRECT_VECS);
                let invocations = self.pixels().div_ceil(DIRECT_PIXELS) * chunks;
                (invocations.div_ceil(DIRECT_WORKGROUP), 1)
            }
        };
        let [x, y, _] = grid(blocks as usize);
        [x, y, chunks]
    }

    /// Steps of the inner dimension, and loads of x in the reduction of a gradient: for one vector of
    /// channels after another.
    fn serial_steps(&self, family: Family, epilogue: &Epilogue<'_>) -> u32 {
        let vectors = self.taps_height * self.taps_width * self.source_vecs;
        let (steps, vecs) = match family {
            Family::Direct => (vectors, 0),
            Family::Subgroup { .. } => (vectors, chunk_vecs(self.result_vecs, SUBGROUP_VECS)),
            Family::Tiled(tile) => (vectors.div_ceil(tile.depth), tile.vecs),
            Family::Matrix(MatrixTile { tile, .. }) => (vectors.div_ceil(tile.depth), tile.vecs),
        };
        let loads = match epilogue {
            Epilogue::Affine { .. } => vecs,
            Epilogue::Plain | Epilogue::Moments(_) => 0,
        };
        (steps + loads).max(1)
    }

    /// Slices of partial statistics that a dispatch writes; `None` if the family writes none.
    fn slices(&self, family: Family) -> Option<u32> {
        let [x, y, _] = self.grid(family);
        match family {
            Family::Subgroup { .. } | Family::Tiled(_) | Family::Matrix(_) => Some(x * y),
            Family::Direct => None,
        }
    }
}

/// Constants of the piece `conv2d_tile`.
fn tile_constants(tile: &Tile) -> Vec<(&'static str, u32)> {
    let abreast = tile.workgroup / tile.depth;
    let source_loads = tile.tile_rows().div_ceil(abreast);
    let batch = load_batch(source_loads);
    vec![
        ("WORKGROUP", tile.workgroup),
        ("VEC_LANES", tile.vec_lanes),
        ("PIXELS", tile.rows),
        ("OUT_VECS", tile.vecs),
        ("DEPTH", tile.depth),
        ("SOURCE_LOADS", source_loads),
        ("SOURCE_BATCHES", source_loads / batch),
        ("LOAD_BATCH", batch),
        ("WEIGHT_LOADS", tile.tile_vecs().div_ceil(abreast)),
    ]
}

/// Matrix products [rows, source channels] by [source channels, result channels], one after
/// another in memory, computed as convolutions of one tap. The direct family has no such kernel.
pub(super) struct Products {
    /// Number of products.
    pub(super) count: usize,
    pub(super) rows: usize,
    pub(super) source_vecs: usize,
    pub(super) result_vecs: usize,
    /// Floating-point operations of the convolution that they replace.
    pub(super) flops: u64,
}

impl Products {
    /// Emits them in one dispatch; the operands are source, weights and result.
    pub(super) fn launch(
        &self,
        lowering: &mut Lowering<'_>,
        of: ValueId,
        family: Family,
        memory: StorageForms,
        [source, weights, result]: [&Binding; 3],
    ) {
        let (rows, source_vecs) = (self.rows as u32, self.source_vecs as u32);
        let params = Params {
            batch: 1,
            source_height: 1,
            source_width: rows,
            source_vecs,
            result_height: 1,
            result_width: rows,
            result_vecs: self.result_vecs as u32,
            count_height: 1,
            count_width: rows,
            out_step_height: 1,
            out_step_width: 1,
            source_step_height: 1,
            source_step_width: 1,
            taps_height: 1,
            taps_width: 1,
            tap_step_height: 1,
            tap_step_width: 1,
            kernel_width: 1,
            ..Params::default()
        };
        let weights = reading(weights);
        let partial = lowering.unused(of);
        let [x, y, chunks] = params.grid(family);
        let launch = Launch {
            kernel: params.kernel(family, &Specialization::default(), memory),
            uniforms: params.words(),
            bindings: vec![
                reading(source),
                weights.clone(),
                result.clone(),
                weights.clone(),
                weights.clone(),
                weights.clone(),
                weights,
                partial,
            ],
            grid: [x, y, chunks * self.count as u32],
            flops: self.flops,
            serial_steps: params.serial_steps(family, &Epilogue::Plain),
        };
        lowering.launch(of, launch);
    }
}

/// What a kernel computes: by default, only the convolution.
#[derive(Clone, Default)]
struct Specialization<'a> {
    /// The input gradient instead.
    transposed: bool,
    normalize_input: Option<FusedNorm<'a>>,
    normalize_output: Option<FusedNorm<'a>>,
    epilogue: Epilogue<'a>,
}

/// Emits a dispatch for each stride phase of the result.
pub(super) fn lower(lowering: &mut Lowering<'_>, convolution: &Convolution<'_>, family: Family) {
    let Convolution {
        sizes, transposed, ..
    } = *convolution;
    let mut phases = match transposed {
        false => vec![Params::forward(&sizes)],
        true => Params::grad_input(&sizes),
    };
    let slices: Option<Vec<u32>> = phases.iter().map(|phase| phase.slices(family)).collect();
    // The input gradient's epilogue reads x from a binding in single precision.
    let slices = slices.filter(|_| !(transposed && sizes.half));
    let epilogue = match (convolution.reduction, &slices) {
        (Some(reduction), Some(slices)) => Epilogue::new(lowering, reduction, slices.iter().sum()),
        _ => Epilogue::Plain,
    };
    let specialization = Specialization {
        transposed,
        normalize_input: convolution.normalize_input,
        normalize_output: convolution.normalize_output,
        epilogue,
    };
    // Operations are divided among the phases in proportion to their products.
    let products = |phase: &Params| {
        u128::from(phase.pixels()) * u128::from(phase.taps_height * phase.taps_width)
    };
    let all: u128 = phases.iter().map(products).sum();
    let mut first_slice = 0;
    for (number, phase) in phases.iter_mut().enumerate() {
        phase.first_slice = first_slice;
        first_slice += slices.as_ref().map_or(0, |slices| slices[number]);
        let flops = u128::from(convolution.flops) * products(phase) / all.max(1);
        let flops = flops as u64;
        launch(lowering, convolution, family, phase, &specialization, flops);
    }
    if let (Some(reduction), Epilogue::Plain) = (convolution.reduction, &specialization.epilogue) {
        epilogue::separate_dispatch(lowering, reduction, convolution.result);
    }
}

fn launch(
    lowering: &mut Lowering<'_>,
    convolution: &Convolution<'_>,
    family: Family,
    phase: &mut Params,
    specialization: &Specialization<'_>,
    flops: u64,
) {
    let Convolution {
        source,
        weights,
        result,
        ..
    } = *convolution;
    [phase.epsilon, phase.relu] = FusedNorm::parameters(specialization.normalize_output);
    [phase.source_epsilon, phase.source_relu] =
        FusedNorm::parameters(specialization.normalize_input);
    // Operands that a form does not have must be bound too; the shader does not access them.
    let unused = NormOperands {
        moments: weights,
        affine: weights,
    };
    let mut output = specialization
        .normalize_output
        .map_or(unused, |norm| norm.operands);
    let mut input = specialization
        .normalize_input
        .map_or(unused, |norm| norm.operands);
    let partial = match &specialization.epilogue {
        Epilogue::Plain => lowering.unused(result),
        Epilogue::Moments(partial) => partial.clone(),
        Epilogue::Affine { partial, op, norm } => {
            [phase.epsilon, phase.relu] = [op.epsilon.to_bits(), u32::from(op.relu)];
            input.moments = norm.x;
            output = NormOperands {
                moments: norm.moments,
                affine: norm.affine,
            };
            partial.clone()
        }
    };
    let launch = Launch {
        kernel: phase.kernel(family, specialization, lowering.storage(source)),
        uniforms: phase.words(),
        bindings: vec![
            lowering.read(source),
            lowering.read(weights),
            lowering.write(result),
            lowering.read(output.moments),
            lowering.read(output.affine),
            lowering.read(input.moments),
            lowering.read(input.affine),
            partial,
        ],
        grid: phase.grid(family),
        flops,
        serial_steps: phase.serial_steps(family, &specialization.epilogue),
    };
    lowering.launch(result, launch);
}
