//! The product of windows and weights that a convolution and its input gradient share.
//!
//! Both sum over the taps of each result pixel (see [`crate::graph::ops::Taps`]). The source is
//! x in the forward pass and dy in the backward pass; the result is y or dx.
//! A task owns some rows of one result image. It copies the source rows, zero-padded where
//! windows reach outside, so that a window row is contiguous, and then computes its pixels tile
//! by tile.

use pulp::Simd;
use rayon::prelude::*;

use super::Cpu;
use super::batch_norm::{Channels, normalize_in_place};
use super::call::{Call, Extent, Plane, Weights};
use super::simd::SimdKernel;
use super::tile::{self, RegisterTile, rows_by_weights};
use crate::graph::ops::{NormOperands, Normalize, Taps};
use crate::shape::LANES;

/// Limit of a task's copied source rows, in elements: they should stay in the core's cache.
const STAGED: usize = 1 << 16;

/// Minimum number of pixels that justifies a task.
const LEAST_PIXELS: usize = 64;

/// A source, and weights packed in the order in which the tiles read them.
pub(super) struct Product<'a> {
    source: Plane<'a>,
    phases: Vec<Phase>,
    /// Vectors that hold the result's channels.
    vectors: usize,
    packed: Vec<f32>,
    /// Normalisation of the source, applied while it is copied.
    pub(super) normalize_input: Option<FusedNormalize>,
    /// Normalisation of the result.
    pub(super) epilogue: Option<FusedNormalize>,
}

/// A normalisation fused into the convolution.
pub(super) struct FusedNormalize {
    channels: Channels,
    relu: bool,
}

impl FusedNormalize {
    /// From an operator's attribute and operands: either both are present or neither.
    pub(super) fn of(
        op: &Option<Normalize>,
        operands: Option<NormOperands<usize>>,
        channels: usize,
        call: &Call<'_>,
    ) -> Option<FusedNormalize> {
        op.as_ref().zip(operands).map(|(op, norm)| {
            let (moments, affine) = (call.numbers(norm.moments), call.numbers(norm.affine));
            FusedNormalize {
                channels: Channels::new(channels, moments, affine, op.epsilon),
                relu: op.relu,
            }
        })
    }

    #[inline(always)]
    fn apply(&self, numbers: &mut [f32]) {
        normalize_in_place(&self.channels, self.relu, numbers);
    }
}

/// A stride phase: result pixels with the same taps.
struct Phase {
    taps: [Taps; 2],
    /// Contiguous parts of a pixel's window: offset from its first element, length.
    segments: Vec<(usize, usize)>,
    /// Offset of its weights in `packed`.
    weights: usize,
}

impl<'a> Product<'a> {
    pub(super) fn new(
        cpu: &Cpu,
        source: Plane<'a>,
        weights: &Weights<'_>,
        transposed: bool,
        phases: &[[Taps; 2]],
    ) -> Product<'a> {
        let lanes = cpu.lanes;
        let results = match transposed {
            true => weights.inputs,
            false => weights.outputs,
        };
        let vectors = results.div_ceil(lanes);
        let mut product = Product {
            source,
            phases: Vec::with_capacity(phases.len()),
            vectors,
            packed: cpu.scratch.take(),
            normalize_input: None,
            epilogue: None,
        };
        product.packed.clear();
        for taps in phases {
            let [height, width] = taps;
            let channels = source.channels;
            let pitch = width.receptive_extent() * channels;
            let run = width.taps * channels;
            product.phases.push(Phase {
                taps: *taps,
                segments: (0..height.taps).map(|a| (a * pitch, run)).collect(),
                weights: product.packed.len(),
            });
            for (first, count) in tile::groups(vectors, cpu.widest) {
                let lanes = first * lanes..((first + count) * lanes);
                product.pack(weights, transposed, taps, lanes);
            }
        }
        product
    }

    /// Appends the weights of some result channels, zero-padded past the last.
    fn pack(
        &mut self,
        weights: &Weights<'_>,
        transposed: bool,
        [height, width]: &[Taps; 2],
        lanes: std::ops::Range<usize>,
    ) {
        let (inputs, outputs) = (weights.inputs, weights.outputs);
        for (a, b) in (0..height.taps).flat_map(|a| (0..width.taps).map(move |b| (a, b))) {
            let cell = height.tap(a) * weights.kernel[1] + width.tap(b);
            let tap = &weights.numbers[cell * inputs * outputs..(cell + 1) * inputs * outputs];
            for source in 0..self.source.channels {
                if transposed {
                    let number = |result: usize| match result < inputs {
                        true => tap[result * outputs + source],
                        false => 0.0,
                    };
                    self.packed.extend(lanes.clone().map(number));
                } else {
                    let row = &tap[source * outputs..(source + 1) * outputs];
                    let end = lanes.end.min(outputs);
                    self.packed.extend_from_slice(&row[lanes.start..end]);
                    self.packed.extend((end..lanes.end).map(|_| 0.0));
                }
            }
        }
    }

    pub(super) fn run(self, cpu: &Cpu, result: Extent, numbers: &mut [f32]) {
        let [height, width] = result.size;
        let row = width * result.channels;
        if numbers.is_empty() {
            return;
        }
        // Small batches are split within images, to occupy all cores.
        let wanted = (4 * cpu.threads).div_ceil(result.batch);
        let columns = self
            .phases
            .iter()
            .map(|phase| phase.taps[1].receptive_extent());
        let staged_row = columns.max().unwrap_or(0) * self.source.channels;
        let rows = height
            .div_ceil(wanted)
            .max(LEAST_PIXELS.div_ceil(width))
            .min((STAGED / staged_row.max(1)).max(1))
            .min(height);
        let product = &self;
        numbers
            .par_chunks_mut(height * row)
            .enumerate()
            .flat_map(|(image, numbers)| {
                let blocks = numbers.par_chunks_mut(rows * row).enumerate();
                blocks.map(move |(block, numbers)| (image, block * rows, numbers))
            })
            .for_each(|(image, first_row, numbers)| {
                let rows = first_row..first_row + numbers.len() / row;
                let staged = product.staged_len(rows.len());
                cpu.scratch.lend(staged, |staged| {
                    cpu.instructions.run(Block {
                        product,
                        image: product.source.image(image),
                        rows,
                        width,
                        channels: result.channels,
                        numbers: &mut *numbers,
                        staged,
                    });
                });
                if let Some(epilogue) = &product.epilogue {
                    cpu.instructions.vectorise(
                        #[inline(always)]
                        || epilogue.apply(numbers),
                    );
                }
            });
        cpu.scratch.give(self.packed);
    }

    /// Maximum number of elements of the copied source for `rows` rows of the result.
    fn staged_len(&self, rows: usize) -> usize {
        let phase = |phase: &Phase| {
            let [height, width] = &phase.taps;
            let cells = rows.div_ceil(height.step);
            let lines = cells.saturating_sub(1) * height.source_step + height.taps;
            lines * width.receptive_extent() * self.source.channels
        };
        self.phases.iter().map(phase).max().unwrap_or(0)
    }
}

/// A task: some rows of one image of the result.
struct Block<'a, 'p> {
    product: &'a Product<'p>,
    image: &'a [f32],
    rows: std::ops::Range<usize>,
    /// Columns and channels of the result.
    width: usize,
    channels: usize,
    numbers: &'a mut [f32],
    staged: &'a mut [f32],
}

impl SimdKernel for Block<'_, '_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        let Product {
            source,
            phases,
            vectors,
            packed,
            normalize_input,
            ..
        } = self.product;
        for phase in phases {
            let [height, width] = &phase.taps;
            let cell = |row: usize| row.saturating_sub(height.first).div_ceil(height.step);
            let cells = cell(self.rows.start)..cell(self.rows.end).min(height.count);
            if cells.is_empty() || width.count == 0 {
                continue;
            }
            let window = if normalize_input.is_none() && source.holds(height, width, &cells) {
                let first = height.source_base as usize + height.source_step * cells.start;
                &self.image[first * source.size[1] * source.channels..]
            } else {
                let taps = [height, width];
                source.stage(
                    self.image,
                    taps,
                    &cells,
                    normalize_input.as_ref(),
                    self.staged,
                );
                &*self.staged
            };
            let numbers_per_vector: usize = phase.segments.iter().map(|(_, len)| len).sum();
            let mut weights = phase.weights;
            for (first, count) in tile::groups(*vectors, tile::widest(REGISTERS)) {
                let len = numbers_per_vector * count * S::F32_LANES;
                let group = Group {
                    phase,
                    cells: cells.clone(),
                    pitch: width.receptive_extent() * source.channels,
                    source_channels: source.channels,
                    window,
                    weights: &packed[weights..weights + len],
                    first_channel: first * S::F32_LANES,
                    first_row: self.rows.start,
                    width: self.width,
                    channels: self.channels,
                    numbers: self.numbers,
                };
                tile::with_rows::<S, REGISTERS>(simd, count, group);
                weights += len;
            }
        }
    }
}

/// All pixels of a block by one group of result channels.
struct Group<'a> {
    phase: &'a Phase,
    cells: std::ops::Range<usize>,
    pitch: usize,
    source_channels: usize,
    window: &'a [f32],
    weights: &'a [f32],
    first_channel: usize,
    first_row: usize,
    width: usize,
    channels: usize,
    numbers: &'a mut [f32],
}

impl RegisterTile for Group<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let [height, width] = &self.phase.taps;
        let weights = S::as_simd_f32s(self.weights).0.as_chunks::<VECTORS>().0;
        let pixels = self.cells.len() * width.count;
        let mut done = 0;
        while done < pixels {
            // Rows past the last pixel recompute it and are not stored.
            let at = |row: usize| {
                let pixel = (done + row).min(pixels - 1);
                (pixel / width.count, pixel % width.count)
            };
            let bases: [usize; ROWS] = std::array::from_fn(|row| {
                let (i, j) = at(row);
                i * height.source_step * self.pitch + j * width.source_step * self.source_channels
            });
            let segments = &self.phase.segments;
            let sums: [[S::f32s; VECTORS]; ROWS] =
                rows_by_weights(simd, self.window, bases, segments, weights);
            for (row, sums) in sums.iter().enumerate().take(pixels - done) {
                let (i, j) = at(row);
                let row = height.first + height.step * (self.cells.start + i) - self.first_row;
                let first = (row * self.width + width.first + width.step * j) * self.channels;
                let pixel = &mut self.numbers[first..first + self.channels];
                store(simd, &mut pixel[self.first_channel..], sums);
            }
            done += ROWS;
        }
    }
}

/// Stores vectors, truncated to the length of `numbers`.
#[inline(always)]
fn store<S: Simd>(simd: S, numbers: &mut [f32], vectors: &[S::f32s]) {
    let (whole, rest) = S::as_mut_simd_f32s(numbers);
    for (place, vector) in whole.iter_mut().zip(vectors) {
        *place = *vector;
    }
    if let (false, Some(vector)) = (rest.is_empty(), vectors.get(whole.len())) {
        simd.partial_store_f32s(rest, *vector);
    }
}

impl Plane<'_> {
    /// Whether the windows of some cells are contiguous in the source and need no padding.
    fn holds(&self, height: &Taps, width: &Taps, cells: &std::ops::Range<usize>) -> bool {
        let last = height.source_base + (height.source_step * (cells.end - 1)) as isize;
        height.source_base + (height.source_step * cells.start) as isize >= 0
            && last + height.taps as isize <= self.size[0] as isize
            && width.source_base == 0
            && width.receptive_extent() == self.size[1]
    }

    /// Copies the windows of some cells, optionally normalised, zero-padded outside.
    #[inline(always)]
    pub(super) fn stage(
        &self,
        image: &[f32],
        [height, width]: [&Taps; 2],
        cells: &std::ops::Range<usize>,
        normalize_input: Option<&FusedNormalize>,
        staged: &mut [f32],
    ) {
        let channels = self.channels;
        debug_assert_eq!(channels % LANES, 0);
        let pitch = width.receptive_extent() * channels;
        let lines = (cells.len() - 1) * height.source_step + height.taps;
        let first = height.source_base + (height.source_step * cells.start) as isize;
        let [rows, columns] = self.size.map(|extent| extent as isize);
        // Columns of the window inside the source.
        let start = (-width.source_base).clamp(0, width.receptive_extent() as isize) as usize;
        let end =
            (columns - width.source_base).clamp(start as isize, width.receptive_extent() as isize);
        let end = end as usize;
        for (line, staged) in staged
            .chunks_exact_mut(pitch.max(1))
            .take(lines)
            .enumerate()
        {
            let row = first + line as isize;
            if !(0..rows).contains(&row) || start == end {
                staged.fill(0.0);
                continue;
            }
            let column = (width.source_base + start as isize) as usize;
            let from = (row as usize * self.size[1] + column) * channels;
            staged[..start * channels].fill(0.0);
            let inside = &mut staged[start * channels..end * channels];
            inside.copy_from_slice(&image[from..from + (end - start) * channels]);
            if let Some(normalize_input) = normalize_input {
                normalize_input.apply(inside);
            }
            staged[end * channels..].fill(0.0);
        }
    }
}
