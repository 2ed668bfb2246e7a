//! Host half of `shaders/conv2d_subgroup.wgsl` and `shaders/conv2d_direct.wgsl`: one result
//! pixel from the source pixels that its taps reach.

use super::super::grid;
use super::super::lower::{Launch, Lowering};
use super::super::shader::{Shader, parameters};
use super::{DIRECT_VECS, DIRECT_WORKGROUP, Family, SUBGROUP_PIXELS, Sizes, chunk_vecs};
use crate::graph::Node;
use crate::program::Access::{Read, Write};
use crate::program::Kernel;

const SUBGROUP: Shader = Shader {
    name: "conv2d_subgroup",
    text: include_str!("../../../shaders/conv2d_subgroup.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: true,
};

const DIRECT: Shader = Shader {
    name: "conv2d_direct",
    text: include_str!("../../../shaders/conv2d_direct.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

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
    }
}

/// A signed parameter.
fn signed(value: isize) -> u32 {
    value as i32 as u32
}

impl Params {
    /// The convolution itself: one dispatch covers the whole output.
    fn forward(sizes: &Sizes) -> Params {
        let [height, width] = sizes.output.map(|extent| extent as u32);
        let stride = sizes.window.stride as u32;
        let base = signed(-(sizes.window.padding as isize));
        Params {
            batch: sizes.batch as u32,
            source_height: sizes.input[0] as u32,
            source_width: sizes.input[1] as u32,
            source_vecs: sizes.input_vecs() as u32,
            result_height: height,
            result_width: width,
            result_vecs: sizes.output_vecs() as u32,
            count_height: height,
            count_width: width,
            out_offset_height: 0,
            out_offset_width: 0,
            out_step_height: 1,
            out_step_width: 1,
            source_base_height: base,
            source_base_width: base,
            source_step_height: stride,
            source_step_width: stride,
            taps_height: sizes.kernel[0] as u32,
            taps_width: sizes.kernel[1] as u32,
            tap_first_height: 0,
            tap_first_width: 0,
            tap_step_height: 1,
            tap_step_width: 1,
            kernel_width: sizes.kernel[1] as u32,
        }
    }

    /// The gradient by the input: one dispatch for each class of input pixels, together all
    /// pixels.
    ///
    /// Input row h gets a contribution of tap r from output row (h + padding − r) / stride
    /// when that is a whole number, so the taps of a row depend on h mod stride only.
    fn grad_input(sizes: &Sizes) -> Vec<Params> {
        let stride = sizes.window.stride;
        let classes = |axis: usize| {
            (0..stride.min(sizes.input[axis])).map(move |class| Class::new(sizes, axis, class))
        };
        classes(0)
            .flat_map(|height| classes(1).map(move |width| (height, width)))
            .map(|(height, width)| Params {
                batch: sizes.batch as u32,
                source_height: sizes.output[0] as u32,
                source_width: sizes.output[1] as u32,
                source_vecs: sizes.output_vecs() as u32,
                result_height: sizes.input[0] as u32,
                result_width: sizes.input[1] as u32,
                result_vecs: sizes.input_vecs() as u32,
                count_height: height.count as u32,
                count_width: width.count as u32,
                out_offset_height: height.offset as u32,
                out_offset_width: width.offset as u32,
                out_step_height: stride as u32,
                out_step_width: stride as u32,
                source_base_height: signed(height.source_base),
                source_base_width: signed(width.source_base),
                source_step_height: 1,
                source_step_width: 1,
                taps_height: height.taps as u32,
                taps_width: width.taps as u32,
                tap_first_height: signed(height.tap_first),
                tap_first_width: signed(width.tap_first),
                tap_step_height: signed(-(stride as isize)),
                tap_step_width: signed(-(stride as isize)),
                kernel_width: sizes.kernel[1] as u32,
            })
            .collect()
    }

    /// Pixels that the dispatch computes.
    fn pixels(&self) -> u32 {
        self.batch * self.count_height * self.count_width
    }

    /// Kernel and grid.
    fn plan(&self, family: Family, transposed: bool) -> (Kernel, [u32; 3]) {
        match family {
            Family::Subgroup { size, wide } => {
                let vecs = chunk_vecs(self.result_vecs);
                let constants = [
                    ("SUBGROUP", size),
                    ("PIXELS", SUBGROUP_PIXELS),
                    ("OUT_VECS", vecs),
                    ("WEIGHT_LOADS", (4 * vecs).div_ceil(size)),
                    ("TRANSPOSED", u32::from(transposed)),
                ];
                let kernel = match wide {
                    true => SUBGROUP.wide_variant(&constants),
                    false => SUBGROUP.variant(&constants),
                };
                let blocks = self.pixels().div_ceil(size * SUBGROUP_PIXELS);
                let [x, y, _] = grid(blocks as usize);
                (kernel, [x, y, self.result_vecs.div_ceil(vecs)])
            }
            Family::Direct => {
                let kernel = DIRECT.variant(&[
                    ("WORKGROUP", DIRECT_WORKGROUP),
                    ("PIXELS", DIRECT_PIXELS),
                    ("OUT_VECS", DIRECT_VECS),
                    ("TRANSPOSED", u32::from(transposed)),
                ]);
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

/// Input coordinates with the same remainder by the stride, along one axis.
#[derive(Clone, Copy, Debug)]
struct Class {
    offset: usize,
    count: usize,
    taps: usize,
    /// The largest tap of the class: with it the source coordinate is the smallest.
    tap_first: isize,
    source_base: isize,
}

impl Class {
    fn new(sizes: &Sizes, axis: usize, offset: usize) -> Class {
        let (stride, padding) = (sizes.window.stride, sizes.window.padding);
        let kernel = sizes.kernel[axis];
        let smallest = (offset + padding) % stride;
        let taps = kernel.saturating_sub(smallest).div_ceil(stride);
        let tap_first = smallest as isize + stride as isize * (taps as isize - 1);
        Class {
            offset,
            count: (sizes.input[axis] - offset).div_ceil(stride),
            taps,
            tap_first,
            source_base: ((offset + padding) as isize - tap_first) / stride as isize,
        }
    }
}

pub(super) fn forward(lowering: &mut Lowering<'_>, sizes: &Sizes, family: Family, node: &Node) {
    let flops = lowering.flops(node);
    launch(
        lowering,
        node,
        family,
        &Params::forward(sizes),
        false,
        flops,
    );
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
        launch(lowering, node, family, class, true, share);
    }
}

fn launch(
    lowering: &mut Lowering<'_>,
    node: &Node,
    family: Family,
    params: &Params,
    transposed: bool,
    flops: u64,
) {
    let result = node.outputs[0];
    let (kernel, grid) = params.plan(family, transposed);
    let launch = Launch {
        kernel,
        uniforms: params.words(),
        bindings: vec![
            lowering.read(node.inputs[0]),
            lowering.read(node.inputs[1]),
            lowering.write(result),
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
    use crate::graph::ops::Window;

    fn sizes(input: [usize; 2], kernel: [usize; 2], stride: usize, padding: usize) -> Sizes {
        let window = Window { stride, padding };
        Sizes {
            batch: 2,
            input,
            output: [0, 1].map(|axis| window.outputs(input[axis], kernel[axis])),
            kernel,
            window,
            channels: [5, 9],
        }
    }

    fn all_sizes() -> Vec<Sizes> {
        let mut all = Vec::new();
        for kernel in [1, 2, 3, 5, 7] {
            for stride in 1..=4 {
                for padding in 0..=3 {
                    all.push(sizes([7, 10], [kernel, 3], stride, padding));
                    all.push(sizes([7, 10], [3, kernel], stride, padding));
                }
            }
        }
        all
    }

    /// The products of the rows as (input, tap, output), straight from the definition.
    fn products(sizes: &Sizes) -> Vec<(i32, i32, i32)> {
        let mut products = Vec::new();
        for output in 0..sizes.output[0] {
            for tap in 0..sizes.kernel[0] {
                if let Some(input) = sizes.window.source(output, tap, sizes.input[0]) {
                    products.push((input as i32, tap as i32, output as i32));
                }
            }
        }
        products.sort_unstable();
        products
    }

    /// The products of the rows that the kernels form, as (result, tap, source).
    fn formed(params: &Params) -> Vec<(i32, i32, i32)> {
        let mut products = Vec::new();
        for i in 0..params.count_height as i32 {
            for a in 0..params.taps_height as i32 {
                let source =
                    params.source_base_height as i32 + params.source_step_height as i32 * i + a;
                let tap = params.tap_first_height as i32 + params.tap_step_height as i32 * a;
                if (0..params.source_height as i32).contains(&source) {
                    let step = params.out_step_height as i32;
                    products.push((params.out_offset_height as i32 + step * i, tap, source));
                }
            }
        }
        products
    }

    #[test]
    fn forward_forms_every_product_once() {
        for sizes in all_sizes() {
            let formed = formed(&Params::forward(&sizes));
            let mut found: Vec<_> = formed.into_iter().map(|(o, t, i)| (i, t, o)).collect();
            found.sort_unstable();
            assert_eq!(found, products(&sizes), "{sizes:?}");
        }
    }

    #[test]
    fn grad_input_forms_every_product_once() {
        for sizes in all_sizes() {
            let classes = Params::grad_input(&sizes);
            let first_column = classes.iter().filter(|class| class.out_offset_width == 0);
            let mut found: Vec<_> = first_column.flat_map(formed).collect();
            found.sort_unstable();
            assert_eq!(found, products(&sizes), "{sizes:?}");
        }
    }

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&SUBGROUP, Params::NAMES);
        check_twin(&DIRECT, Params::NAMES);
    }
}
