//! Host half of `shaders/conv2d_winograd_source.wgsl`, `shaders/conv2d_winograd_weights.wgsl` and
//! `shaders/conv2d_winograd_result.wgsl`: Winograd convolution, for 3x3 windows with stride 1 and
//! feature maps in single precision.
//!
//! Transformed source and products take several times the memory of source and result, so a
//! batch is divided into runs of images whose scratch buffers are small. Between the
//! transforms, one dispatch of another family computes a matrix product for each Winograd
//! component.

use super::super::grid;
use super::super::lowering::{Launch, Lowering, reading};
use super::super::row_partition::RowPartition;
use super::super::shader::{Shader, StorageForms, parameters, shader, winograd_filter};
use super::epilogue::Epilogue;
use super::{Convolution, Family, FusedNorm, Sizes, pixels};
use crate::graph::ops::{NormOperands, Taps};
use crate::program::Binding;
use crate::shape::{LANES, Shape};

const SOURCE: Shader = shader!("conv2d_winograd_source", [Read, Read, Read, Write], Params);

const WEIGHTS: Shader = shader!("conv2d_winograd_weights", [Read, Write], Params);

const RESULT: Shader = shader!(
    "conv2d_winograd_result",
    [Read, Read, Read, Read, Write, Write],
    Params
);

/// All shaders of this file.
pub(super) const SHADERS: [&Shader; 3] = [&SOURCE, &WEIGHTS, &RESULT];

/// Maximum size of a scratch buffer in bytes, unless one image needs more: what a GPU may keep in
/// its cache between two dispatches.
const SCRATCH: u64 = 32 << 20;

/// Invocations in a workgroup.
const WORKGROUP: usize = 64;

parameters! {
    struct Params {
        first_image,
        images,
        source_height,
        source_width,
        source_vecs,
        result_height,
        result_width,
        result_vecs,
        tiles_high,
        tiles_wide,
        /// Signed.
        base_height,
        base_width,
        tap_first,
        /// Signed.
        tap_step,
        /// Float.
        epsilon,
        relu,
        /// Of the output transform: tiles of a workgroup, first slice of the partial statistics.
        chunk,
        first_slice,
    }
}

impl Params {
    fn normalizing(self, [epsilon, relu]: [u32; 2]) -> Params {
        Params {
            epsilon,
            relu,
            ..self
        }
    }
}

/// A convolution in tiles of `out` by `out` result pixels.
pub(super) struct Winograd {
    out: usize,
    transposed: bool,
    batch: usize,
    /// Rows and columns.
    source: [usize; 2],
    result: [usize; 2],
    /// Vectors of channels.
    source_vecs: usize,
    result_vecs: usize,
    /// The same along both axes.
    taps: Taps,
}

impl Winograd {
    /// The convolution, or its input gradient; `None` if the window or the precision is not
    /// supported, or a binding cannot hold the transformed weights or one transformed image.
    pub(super) fn new(
        sizes: &Sizes,
        transposed: bool,
        out: u32,
        max_binding: u64,
    ) -> Option<Winograd> {
        if sizes.half || sizes.kernel != [3, 3] || sizes.window.stride != 1 {
            return None;
        }
        let taps = match transposed {
            false => sizes.window.forward(sizes.input[0], 3),
            true => sizes.window.backward(sizes.input[0], 3).next()?,
        };
        let (input, output) = (
            (sizes.input, sizes.input_vecs()),
            (sizes.output, sizes.output_vecs()),
        );
        let (source, result) = match transposed {
            false => (input, output),
            true => (output, input),
        };
        let winograd = Winograd {
            out: out as usize,
            transposed,
            batch: sizes.batch,
            source: source.0,
            result: result.0,
            source_vecs: source.1,
            result_vecs: result.1,
            taps,
        };
        let largest = winograd.weight_bytes().max(winograd.image_bytes());
        (largest <= max_binding).then_some(winograd)
    }

    /// Whether it may be the fastest: the transforms' cost grows with the channels, the saving
    /// in products with their square.
    pub(super) fn is_candidate(&self, software: bool) -> bool {
        let least = if software { WIDE_SOFTWARE } else { WIDE };
        self.source_vecs.min(self.result_vecs) * LANES >= least
    }

    /// Rows of one component's matrix product for the whole batch.
    pub(super) fn rows(&self) -> usize {
        self.batch * self.tiles()
    }

    /// Emits the dispatches; `gemm` is the family of the matrix products.
    pub(super) fn lower(
        &self,
        lowering: &mut Lowering<'_>,
        convolution: &Convolution<'_>,
        gemm: Family,
    ) {
        let of = convolution.result;
        let memory = lowering.storage(convolution.source);
        let transformed = self.weights(lowering, convolution, memory);

        let images = self.images();
        let source = lowering.scratch(of, "source", self.component_bytes(images, self.source_vecs));
        let product = lowering.scratch(
            of,
            "products",
            self.component_bytes(images, self.result_vecs),
        );
        let runs: Vec<[usize; 2]> = (0..self.batch)
            .step_by(images)
            .map(|first| [first, images.min(self.batch - first)])
            .collect();
        let reductions = runs
            .iter()
            .map(|[_, count]| self.reduction(*count).slices());
        let slices = reductions.sum();
        let epilogue = convolution.reduction.map_or(Epilogue::Plain, |reduction| {
            Epilogue::new(lowering, reduction, slices)
        });
        let flops = u128::from(convolution.flops);
        let mut first_slice = 0;
        for [first, count] in runs {
            let part = |binding: &Binding, vecs: usize| Binding {
                bytes: self.component_bytes(count, vecs),
                ..binding.clone()
            };
            let source = part(&source, self.source_vecs);
            let product = part(&product, self.result_vecs);
            let params = self.params(first, count);
            self.source(lowering, convolution, &params, &source);
            let matrices = pixels::Products {
                count: self.components(),
                rows: count * self.tiles(),
                source_vecs: self.source_vecs,
                result_vecs: self.result_vecs,
                flops: (flops * count as u128 / self.batch as u128) as u64,
            };
            let operands = [&source, &transformed, &product];
            matrices.launch(lowering, of, gemm, memory, operands);
            let params = Params {
                first_slice,
                ..params
            };
            first_slice += self.result(lowering, convolution, params, &epilogue, &product);
        }
    }

    /// The piece with its filter.
    fn filter(&self) -> &'static str {
        winograd_filter(self.out as u32)
    }

    /// Constants that all three shaders have.
    fn constants(&self) -> Vec<(&'static str, u32)> {
        vec![
            ("OUT", self.out as u32),
            ("INPUT_EXTENT", self.receptive_extent() as u32),
        ]
    }

    /// Transforms the weights.
    fn weights(
        &self,
        lowering: &mut Lowering<'_>,
        convolution: &Convolution<'_>,
        memory: StorageForms,
    ) -> Binding {
        let of = convolution.result;
        let transformed = lowering.scratch(of, "weights", self.weight_bytes());
        let mut constants = self.constants();
        constants.push(("TRANSPOSED", u32::from(self.transposed)));
        let launch = Launch {
            kernel: WEIGHTS.with_piece(self.filter(), memory, &constants),
            uniforms: self.params(0, self.batch).words(),
            bindings: vec![lowering.read(convolution.weights), transformed.clone()],
            grid: grid((LANES * self.source_vecs * self.result_vecs).div_ceil(WORKGROUP)),
            flops: 0,
            serial_steps: 1,
        };
        lowering.launch(of, launch);
        transformed
    }

    /// Transforms the source of a run of images.
    fn source(
        &self,
        lowering: &mut Lowering<'_>,
        convolution: &Convolution<'_>,
        params: &Params,
        transformed: &Binding,
    ) {
        let (source, norm) = (convolution.source, convolution.normalize_input);
        let mut constants = self.constants();
        constants.push(("NORMALIZE_INPUT", u32::from(norm.is_some())));
        // Without a normalisation the shader does not read its operands.
        let unused = NormOperands {
            moments: source,
            affine: source,
        };
        let operands = norm.map_or(unused, |norm| norm.operands);
        let invocations = params.images as usize * self.tiles() * self.source_vecs;
        let launch = Launch {
            kernel: SOURCE.with_piece(self.filter(), lowering.storage(source), &constants),
            uniforms: params.normalizing(FusedNorm::parameters(norm)).words(),
            bindings: vec![
                lowering.read(source),
                lowering.read(operands.moments),
                lowering.read(operands.affine),
                transformed.clone(),
            ],
            grid: grid(invocations.div_ceil(WORKGROUP)),
            flops: 0,
            serial_steps: 1,
        };
        lowering.launch(convolution.result, launch);
    }

    /// Transforms the products of a run of images; returns its slices of partial statistics.
    fn result(
        &self,
        lowering: &mut Lowering<'_>,
        convolution: &Convolution<'_>,
        mut params: Params,
        epilogue: &Epilogue<'_>,
        product: &Binding,
    ) -> u32 {
        let (of, norm) = (convolution.result, convolution.normalize_output);
        let partition = match epilogue {
            Epilogue::Plain => RowPartition::new(&self.tiles_shape(params.images), lowering.target),
            _ => self.reduction(params.images as usize),
        };
        params.chunk = partition.chunk;
        params = params.normalizing(FusedNorm::parameters(norm));
        let mut constants = self.constants();
        constants.push(("NORMALIZE_OUTPUT", u32::from(norm.is_some())));
        constants.extend(epilogue.constants());
        let product = reading(product);
        // Operands that are absent must be bound too; the shader does not access them.
        let [mut moments, mut affine] = match norm {
            Some(norm) => [norm.operands.moments, norm.operands.affine].map(|id| lowering.read(id)),
            None => [product.clone(), product.clone()],
        };
        let mut x = product.clone();
        let partial = match epilogue {
            Epilogue::Plain => lowering.unused(of),
            Epilogue::Moments(partial) => partial.clone(),
            Epilogue::Affine { partial, op, norm } => {
                params = params.normalizing([op.epsilon.to_bits(), u32::from(op.relu)]);
                [x, moments, affine] =
                    [norm.x, norm.moments, norm.affine].map(|id| lowering.read(id));
                partial.clone()
            }
        };
        let launch = Launch {
            kernel: RESULT.with_piece(
                self.filter(),
                lowering.storage(convolution.source),
                &constants,
            ),
            uniforms: params.words(),
            bindings: vec![product, moments, affine, x, lowering.write(of), partial],
            grid: partition.grid(),
            flops: 0,
            serial_steps: partition.visits(),
        };
        lowering.launch(of, launch);
        partition.slices()
    }

    /// The products of some images as a matrix of tiles by channels.
    fn tiles_shape(&self, images: u32) -> Shape {
        Shape::channels(&[images as usize * self.tiles(), LANES * self.result_vecs])
    }

    /// Partition of the output transform where it writes partial statistics.
    fn reduction(&self, images: usize) -> RowPartition {
        RowPartition::small_reduction(&self.tiles_shape(images as u32))
    }

    fn params(&self, first: usize, images: usize) -> Params {
        let [tiles_high, tiles_wide] = self.tiles_of();
        let base = self.taps.source_base as i32 as u32;
        Params {
            first_image: first as u32,
            images: images as u32,
            source_height: self.source[0] as u32,
            source_width: self.source[1] as u32,
            source_vecs: self.source_vecs as u32,
            result_height: self.result[0] as u32,
            result_width: self.result[1] as u32,
            result_vecs: self.result_vecs as u32,
            tiles_high: tiles_high as u32,
            tiles_wide: tiles_wide as u32,
            base_height: base,
            base_width: base,
            tap_first: self.taps.tap_first as u32,
            tap_step: self.taps.tap_step as i32 as u32,
            ..Params::default()
        }
    }

    /// Source pixels of a tile along one axis.
    fn receptive_extent(&self) -> usize {
        self.out + 2
    }

    fn components(&self) -> usize {
        self.receptive_extent() * self.receptive_extent()
    }

    /// Rows and columns of an image, in tiles.
    fn tiles_of(&self) -> [usize; 2] {
        self.result.map(|extent| extent.div_ceil(self.out))
    }

    /// Tiles of an image.
    fn tiles(&self) -> usize {
        self.tiles_of().iter().product()
    }

    /// Bytes of all components of some images.
    fn component_bytes(&self, images: usize, vecs: usize) -> u64 {
        16 * (self.components() * images * self.tiles() * vecs) as u64
    }

    /// Bytes of the larger scratch buffer of one image.
    fn image_bytes(&self) -> u64 {
        self.component_bytes(1, self.source_vecs.max(self.result_vecs))
    }

    fn weight_bytes(&self) -> u64 {
        16 * (self.components() * LANES * self.source_vecs * self.result_vecs) as u64
    }

    /// Images of a run.
    fn images(&self) -> usize {
        let most = (SCRATCH / self.image_bytes()).max(1) as usize;
        // Runs of about the same length.
        self.batch.div_ceil(self.batch.div_ceil(most))
    }
}

/// Channels from which the saving in products may outweigh the transforms: on GPUs, and on software
/// adapters, where a load costs as much as dozens of multiply-adds.
const WIDE: usize = 32;
const WIDE_SOFTWARE: usize = 72;
