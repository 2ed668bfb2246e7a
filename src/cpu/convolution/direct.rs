//! Direct convolution: sums over the taps of each result pixel, tile by tile.

use pulp::Simd;

use super::super::Cpu;
use super::super::simd::SimdKernel;
use super::super::tile::{self, RegisterTile, rows_by_weights, store};
use super::{Block, Convolution};
use crate::graph::ops::Taps;

/// Limit of a task's copied source rows, in elements: they should stay in the core's cache.
const STAGED: usize = 1 << 16;

/// Minimum number of multiply-adds that justifies a task.
const LEAST_WORK: usize = 1 << 17;

/// Rows of the result that a task computes.
pub(super) fn rows(cpu: &Cpu, convolution: &Convolution<'_>, phases: &[[Taps; 2]]) -> usize {
    let [height, width] = convolution.result.size;
    // Small batches are split within images, to occupy all cores.
    let wanted = (4 * cpu.threads).div_ceil(convolution.result.batch);
    let taps: usize = phases.iter().map(|[h, w]| h.taps * w.taps).sum();
    let pixel = taps * convolution.source.channels * convolution.result.channels;
    let columns = phases.iter().map(|[_, width]| width.receptive_extent());
    let staged_row = columns.max().unwrap_or(0) * convolution.source.channels;
    height
        .div_ceil(wanted)
        .max(LEAST_WORK.div_ceil((width * pixel).max(1)))
        .min((STAGED / staged_row.max(1)).max(1))
        .min(height)
}

/// Computes some rows of one image.
pub(super) fn run(
    cpu: &Cpu,
    convolution: &Convolution<'_>,
    phases: &[[Taps; 2]],
    packed: &[f32],
    block: Block,
    numbers: &mut [f32],
) {
    let staged = phases.iter().map(|[height, width]| {
        let cells = block.rows.len().div_ceil(height.step);
        let lines = cells.saturating_sub(1) * height.source_step + height.taps;
        lines * width.receptive_extent() * convolution.source.channels
    });
    cpu.scratch.lend(staged.max().unwrap_or(0), |staged| {
        cpu.instructions.run(Rows {
            convolution,
            phases,
            packed,
            block,
            numbers,
            staged,
        });
    });
}

struct Rows<'a> {
    convolution: &'a Convolution<'a>,
    phases: &'a [[Taps; 2]],
    packed: &'a [f32],
    block: Block,
    numbers: &'a mut [f32],
    staged: &'a mut [f32],
}

impl SimdKernel for Rows<'_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        let Convolution {
            source,
            result,
            normalize_input,
            ..
        } = self.convolution;
        let image = source.image(self.block.images.start);
        let rows = &self.block.rows;
        let mut packed = self.packed;
        for taps in self.phases {
            let [height, width] = taps;
            let cell = |row: usize| row.saturating_sub(height.first).div_ceil(height.step);
            let cells = cell(rows.start)..cell(rows.end).min(height.count);
            let pitch = width.receptive_extent() * source.channels;
            let run = width.taps * source.channels;
            let vectors = result.channels.div_ceil(S::F32_LANES);
            let weights_per_lane = height.taps * run;
            let (weights, later) = packed.split_at(weights_per_lane * vectors * S::F32_LANES);
            packed = later;
            if cells.is_empty() || width.count == 0 {
                continue;
            }
            let window = if normalize_input.is_none() && source.holds(height, width, &cells) {
                let first = height.source_base as usize + height.source_step * cells.start;
                &image[first * source.size[1] * source.channels..]
            } else {
                let normalize = normalize_input.as_ref();
                source.stage(image, [height, width], &cells, normalize, self.staged);
                &*self.staged
            };
            let segments: Vec<(usize, usize)> =
                (0..height.taps).map(|a| (a * pitch, run)).collect();
            let mut weights = weights;
            for (first, count) in tile::groups(vectors, tile::widest(REGISTERS)) {
                let (now, later) = weights.split_at(weights_per_lane * count * S::F32_LANES);
                weights = later;
                let group = Group {
                    taps,
                    segments: &segments,
                    cells: cells.clone(),
                    pitch,
                    source_channels: source.channels,
                    window,
                    weights: now,
                    first_channel: first * S::F32_LANES,
                    first_row: rows.start,
                    width: result.size[1],
                    channels: result.channels,
                    numbers: self.numbers,
                };
                tile::with_rows::<S, REGISTERS>(simd, count, group);
            }
        }
    }
}

/// Row and column of a pixel among those of a stride phase in a block.
#[derive(Clone, Copy, Default)]
struct Position {
    i: usize,
    j: usize,
}

impl Position {
    /// The next pixel in rows of `columns`; a division would take as long as some products.
    #[inline(always)]
    fn advance(&mut self, columns: usize) {
        self.j += 1;
        if self.j == columns {
            *self = Position {
                i: self.i + 1,
                j: 0,
            };
        }
    }
}

/// All pixels of a stride phase in a block by one group of result channels.
struct Group<'a> {
    taps: &'a [Taps; 2],
    /// Contiguous parts of a pixel's window: offset from its first element, length.
    segments: &'a [(usize, usize)],
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
        let [height, width] = self.taps;
        let weights = S::as_simd_f32s(self.weights).0.as_chunks::<VECTORS>().0;
        let pixels = self.cells.len() * width.count;
        let mut position = Position::default();
        let mut done = 0;
        while done < pixels {
            // Rows past the last pixel recompute it and are not stored.
            let tile: [Position; ROWS] = std::array::from_fn(|row| {
                let now = position;
                if done + row + 1 < pixels {
                    position.advance(width.count);
                }
                now
            });
            let bases = tile.map(|Position { i, j }| {
                i * height.source_step * self.pitch + j * width.source_step * self.source_channels
            });
            let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
            rows_by_weights(simd, self.window, bases, self.segments, weights, &mut sums);
            for (Position { i, j }, sums) in tile.iter().zip(&sums).take(pixels - done) {
                let row = height.first + height.step * (self.cells.start + i) - self.first_row;
                let first = (row * self.width + width.first + width.step * j) * self.channels;
                let pixel = &mut self.numbers[first..first + self.channels];
                store(simd, &mut pixel[self.first_channel..], sums);
            }
            done += ROWS;
        }
    }
}
