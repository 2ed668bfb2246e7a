//! Host half of `shaders/conv2d_tiled.wgsl`, `shaders/conv2d_subgroup.wgsl` and
//! `shaders/conv2d_direct.wgsl`: one result pixel from the source pixels that its taps reach.

use super::super::grid;
use super::super::lower::{Launch, Lowering};
use super::super::shader::{Memory, Shader, parameters};
use super::{DIRECT_VECS, DIRECT_WORKGROUP, Family, Sizes, chunk_vecs};
use crate::graph::Node;
use crate::graph::ops::{Conv2d, Taps};
use crate::program::Access::{Read, Write};
use crate::program::Kernel;

const SUBGROUP: Shader = Shader {
    name: "conv2d_subgroup",
    text: include_str!("../../../shaders/conv2d_subgroup.wgsl"),
    bindings: &[Read, Read, Write, Read, Read],
    subgroups: true,
};

const TILED: Shader = Shader {
    name: "conv2d_tiled",
    text: include_str!("../../../shaders/conv2d_tiled.wgsl"),
    bindings: &[Read, Read, Write, Read, Read],
    subgroups: false,
};

const DIRECT: Shader = Shader {
    name: "conv2d_direct",
    text: include_str!("../../../shaders/conv2d_direct.wgsl"),
    bindings: &[Read, Read, Write, Read, Read],
    subgroups: false,
};

/// All of them.
pub(super) const SHADERS: [Shader; 3] = [SUBGROUP, TILED, DIRECT];

/// Pixels that an invocation of the subgroup family works on at once, and most vectors of
/// output channels that a workgroup covers.
///
/// More of either share what was loaded, but their product is the length of the code, which
/// takes a second to compile and must not outgrow the processor's instruction cache. Wider
/// chunks with fewer pixels are as fast, but there are more widths to compile.
const SUBGROUP_PIXELS: u32 = 8;
const SUBGROUP_VECS: u32 = 5;

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
        /// Pixels of the class, and where they lie in the result.
        count_height,
        count_width,
        out_offset_height,
        out_offset_width,
        out_step_height,
        out_step_width,
        /// Signed: where the first tap of a pixel of the class lies in the source.
        source_base_height,
        source_base_width,
        source_step_height,
        source_step_width,
        /// Taps of the class, and (signed) where they lie in the kernel.
        taps_height,
        taps_width,
        tap_first_height,
        tap_first_width,
        tap_step_height,
        tap_step_width,
        kernel_width,
        /// Float: of the normalisation of the result.
        epsilon,
        /// 1 if ReLU follows it.
        relu,
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

    /// The gradient by the input: one dispatch for each class of input pixels.
    fn grad_input(sizes: &Sizes) -> Vec<Params> {
        let classes = |axis| sizes.window.backward(sizes.input[axis], sizes.kernel[axis]);
        let source = (sizes.output, sizes.output_vecs());
        let result = (sizes.input, sizes.input_vecs());
        classes(0)
            .flat_map(|height| classes(1).map(move |width| [height, width]))
            .map(|taps| Params::new(sizes, source, result, taps))
            .collect()
    }

    /// Source and result are their rows and columns, and vectors of channels.
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
        }
    }

    /// Pixels that the dispatch computes.
    fn pixels(&self) -> u32 {
        self.batch * self.count_height * self.count_width
    }

    /// Kernel and grid.
    fn plan(&self, family: Family, form: Form, memory: Memory) -> (Kernel, [u32; 3]) {
        let transposed = ("TRANSPOSED", u32::from(form == Form::Transposed));
        let normalize = ("NORMALIZE", u32::from(form == Form::Normalized));
        match family {
            Family::Subgroup { size } => {
                let vecs = chunk_vecs(self.result_vecs, SUBGROUP_VECS);
                let constants = [
                    ("SUBGROUP", size),
                    ("PIXELS", SUBGROUP_PIXELS),
                    ("OUT_VECS", vecs),
                    ("WEIGHT_LOADS", (4 * vecs).div_ceil(size)),
                    transposed,
                    normalize,
                ];
                let kernel = SUBGROUP.suited(memory, &constants);
                let blocks = self.pixels().div_ceil(size * SUBGROUP_PIXELS);
                let [x, y, _] = grid(blocks as usize);
                (kernel, [x, y, self.result_vecs.div_ceil(vecs)])
            }
            Family::Tiled(tile) => {
                let abreast = tile.workgroup / tile.depth;
                let constants = [
                    ("WORKGROUP", tile.workgroup),
                    ("VEC_LANES", tile.vec_lanes),
                    ("PIXELS", tile.rows),
                    ("OUT_VECS", tile.vecs),
                    ("DEPTH", tile.depth),
                    ("SOURCE_LOADS", tile.tile_rows().div_ceil(abreast)),
                    ("WEIGHT_LOADS", tile.tile_vecs().div_ceil(abreast)),
                    transposed,
                    normalize,
                ];
                let kernel = TILED.suited(memory.narrow(), &constants);
                let [blocks, chunks] = tile.tiles(self.pixels(), self.result_vecs);
                let [x, y, _] = grid(blocks as usize);
                (kernel, [x, y, chunks])
            }
            Family::Direct => {
                let constants = [
                    ("WORKGROUP", DIRECT_WORKGROUP),
                    ("PIXELS", DIRECT_PIXELS),
                    ("OUT_VECS", DIRECT_VECS),
                    transposed,
                    normalize,
                ];
                let kernel = DIRECT.suited(memory.narrow(), &constants);
                let chunks = self.result_vecs.div_ceil(DIRECT_VECS);
                let invocations = self.pixels().div_ceil(DIRECT_PIXELS) * chunks;
                (
                    kernel,
                    grid(invocations.div_ceil(DIRECT_WORKGROUP) as usize),
                )
            }
        }
    }
}

/// What a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The convolution.
    Plain,
    /// The convolution, normalised.
    Normalized,
    /// The gradient by the input.
    Transposed,
}

pub(super) fn forward(
    lowering: &mut Lowering<'_>,
    sizes: &Sizes,
    op: &Conv2d,
    family: Family,
    node: &Node,
) {
    let flops = lowering.flops(node);
    let mut params = Params::forward(sizes);
    let form = match &op.normalize {
        Some(normalize) => {
            params.epsilon = normalize.epsilon.to_bits();
            params.relu = u32::from(normalize.relu);
            Form::Normalized
        }
        None => Form::Plain,
    };
    launch(lowering, node, family, &params, form, flops);
}

pub(super) fn grad_input(lowering: &mut Lowering<'_>, sizes: &Sizes, family: Family, node: &Node) {
    let classes = Params::grad_input(sizes);
    // Arithmetic is divided among the classes as their products are.
    let products = |class: &Params| {
        u64::from(class.pixels()) * u64::from(class.taps_height) * u64::from(class.taps_width)
    };
    let all: u64 = classes.iter().map(products).sum();
    let flops = lowering.flops(node);
    for class in &classes {
        let share = flops * products(class) / all.max(1);
        launch(lowering, node, family, class, Form::Transposed, share);
    }
}

fn launch(
    lowering: &mut Lowering<'_>,
    node: &Node,
    family: Family,
    params: &Params,
    form: Form,
    flops: u64,
) {
    let result = node.outputs[0];
    let memory = lowering.memory(node.inputs[0]);
    let (kernel, grid) = params.plan(family, form, memory);
    // Without a normalisation the shader does not read its operands.
    let vectors = |at: usize| *node.inputs.get(at).unwrap_or(&node.inputs[1]);
    let launch = Launch {
        kernel,
        uniforms: params.words(),
        bindings: vec![
            lowering.read(node.inputs[0]),
            lowering.read(node.inputs[1]),
            lowering.write(result),
            lowering.read(vectors(2)),
            lowering.read(vectors(3)),
        ],
        grid,
        flops,
    };
    lowering.launch(result, launch);
}

#[cfg(test)]
mod tests {
    use super::super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&SUBGROUP, Params::NAMES);
        check_twin(&TILED, Params::NAMES);
        check_twin(&DIRECT, Params::NAMES);
    }
}
