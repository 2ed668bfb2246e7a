//! Weight gradient of a convolution: for each tap, input pixels times output gradients, summed
//! over all pixels.
//!
//! Windows of 3x3 with stride 1 use Winograd's convolution ([`super::convolution`]).

use pulp::Simd;
use rayon::prelude::*;

use super::Cpu;
use super::call::{Call, Plane};
use super::convolution::{
    FusedNormalize, GradWeightOperands, Slices, Task, winograd, winograd_grad_weight,
};
use super::simd::SimdKernel;
use super::tile::{self, Lines, RegisterTile, elements_by_gradient};
use crate::graph::ops::{Conv2dGradWeight, Taps};

/// Minimum number of pixels in a slice, and in the lines that a task copies at a time: writing and
/// adding sums takes as long as computing some pixels.
const LEAST_PIXELS: usize = 512;
const LEAST_COPIED: usize = 64;

/// Limit of the input and gradient that a task copies at a time, in elements: they stay in the
/// first-level cache while all window elements are processed.
const STAGED: usize = 6 << 10;

pub(super) fn run(cpu: &Cpu, op: &Conv2dGradWeight, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let (x, dy) = (call.plane(named.x), call.plane(named.dy));
    let taps = [0, 1].map(|axis| op.window.forward(x.size[axis], op.kernel[axis]));
    let normalize_input = FusedNormalize::of(
        &op.normalize_input,
        named.normalize_input,
        x.channels,
        &call,
    );
    let dw = call.result(0);
    if winograd(op.kernel, &taps, *x, *dy) {
        let operands = GradWeightOperands {
            x,
            normalize_input: normalize_input.as_ref(),
            dy,
        };
        return winograd_grad_weight(cpu, operands, &taps, dw);
    }
    let lanes = cpu.lanes;
    let vectors = dy.channels.div_ceil(lanes);
    // Elements of x in the window of a pixel of y.
    let window_len = op.kernel[0] * op.kernel[1] * x.channels;
    let lines = dy.batch * dy.size[0];
    let columns = dy.size[1].max(1);
    let groups: Vec<(usize, usize)> = tile::groups(vectors, cpu.widest).collect();
    let (least, all) = (LEAST_PIXELS.div_ceil(columns), window_len * dy.channels);
    let slices = Slices::new(lines, least, all, &groups);
    let pitch = taps[1].receptive_extent() * x.channels;
    let line = taps[0].source_step * pitch + columns * vectors * lanes;
    let lines_at_once = (STAGED / line.max(1))
        .max(LEAST_COPIED.div_ceil(columns))
        .min(dy.size[0].max(1));
    let staged_x = ((lines_at_once - 1) * taps[0].source_step + taps[0].taps) * pitch;
    let staged_dy = lines_at_once * columns * vectors * lanes;
    let sums = window_len * lanes;
    cpu.scratch
        .lend(slices.count() * vectors * sums, |partial| {
            let tasks = slices.tasks(sums, partial);
            tasks.into_par_iter().for_each(|task| {
                cpu.scratch.lend(staged_x + staged_dy, |staged| {
                    let (staged_x, staged_dy) = staged.split_at_mut(staged_x);
                    cpu.instructions.run(Slice {
                        x,
                        normalize_input: normalize_input.as_ref(),
                        dy,
                        taps,
                        window_len,
                        task,
                        lines_at_once,
                        staged_x,
                        staged_dy,
                    });
                });
            });
            let slices = slices.count();
            add_slices(cpu, partial, slices, [window_len, vectors, dy.channels], dw);
        });
}

/// A task: the sums of some groups over some lines of the batch.
struct Slice<'a> {
    x: Plane<'a>,
    /// Input normalisation, applied while x is copied.
    normalize_input: Option<&'a FusedNormalize>,
    dy: Plane<'a>,
    taps: [Taps; 2],
    window_len: usize,
    /// Lines of the batch; for each group and window element, the group's lanes.
    task: Task<'a, 'a>,
    lines_at_once: usize,
    staged_x: &'a mut [f32],
    staged_dy: &'a mut [f32],
}

impl SimdKernel for Slice<'_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        let Task {
            rows: lines,
            groups,
            sums,
        } = self.task;
        sums.fill(0.0);
        let [rows, columns] = self.dy.size;
        let [height, width] = &self.taps;
        let mut line = lines.start;
        while line < lines.end {
            let (image, row) = (line / rows, line % rows);
            let count = self.lines_at_once.min(rows - row).min(lines.end - line);
            let cells = row..row + count;
            let source = self.x.image(image);
            let taps = [height, width];
            self.x
                .stage(source, taps, &cells, self.normalize_input, self.staged_x);
            let gradient = self.dy.image(image);
            let pixels = count * columns;
            let gradient = &gradient[row * columns * self.dy.channels..];
            let mut staged = 0;
            let mut done = 0;
            for (first, vectors) in groups {
                let lanes = vectors * S::F32_LANES;
                let part = &mut self.staged_dy[staged..staged + pixels * lanes];
                gather(
                    gradient,
                    self.dy.channels,
                    first * S::F32_LANES,
                    lanes,
                    part,
                );
                staged += pixels * lanes;
                let group = Group {
                    taps: &self.taps,
                    channels: self.x.channels,
                    window_len: self.window_len,
                    columns,
                    source: self.staged_x,
                    gradient: part,
                    sums: &mut sums[done..done + self.window_len * lanes],
                };
                done += self.window_len * lanes;
                tile::with_rows::<S, REGISTERS>(simd, *vectors, group);
            }
            line += count;
        }
    }
}

/// Copies some channels of each pixel, zero-padded past the last.
#[inline(always)]
fn gather(pixels: &[f32], channels: usize, first: usize, count: usize, part: &mut [f32]) {
    let inside = count.min(channels - first);
    for (pixel, part) in pixels
        .chunks_exact(channels)
        .zip(part.chunks_exact_mut(count))
    {
        part[..inside].copy_from_slice(&pixel[first..first + inside]);
        part[inside..].fill(0.0);
    }
}

/// All elements of a window by one group of output channels.
struct Group<'a> {
    taps: &'a [Taps; 2],
    /// Channels of x.
    channels: usize,
    window_len: usize,
    /// Columns of y.
    columns: usize,
    source: &'a [f32],
    gradient: &'a [f32],
    sums: &'a mut [f32],
}

impl RegisterTile for Group<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let [height, width] = self.taps;
        let pitch = width.receptive_extent() * self.channels;
        let run = width.taps * self.channels;
        let gradient = S::as_simd_f32s(self.gradient).0.as_chunks::<VECTORS>().0;
        let sums = S::as_mut_simd_f32s(self.sums)
            .0
            .as_chunks_mut::<VECTORS>()
            .0;
        let mut done = 0;
        while done < self.window_len {
            // Rows past the last element recompute it and are not stored.
            let element = |row: usize| (done + row).min(self.window_len - 1);
            let mut tile: [[S::f32s; VECTORS]; ROWS] =
                std::array::from_fn(|row| sums[element(row)]);
            let offsets = std::array::from_fn(|row| {
                let element = element(row);
                element / run * pitch + element % run
            });
            let lines = Lines {
                columns: self.columns,
                line: height.source_step * pitch,
                column: width.source_step * self.channels,
            };
            elements_by_gradient(simd, self.source, offsets, lines, gradient, &mut tile);
            for (row, tile) in tile.iter().enumerate().take(self.window_len - done) {
                sums[done + row] = *tile;
            }
            done += ROWS;
        }
    }
}

/// Sums the slices, and reorders groups of vectors to the layout of the weights.
fn add_slices(
    cpu: &Cpu,
    partial: &[f32],
    slices: usize,
    [window_len, vectors, channels]: [usize; 3],
    dw: &mut [f32],
) {
    let lanes = cpu.lanes;
    let slice = window_len * vectors * lanes;
    dw.par_chunks_mut(channels)
        .with_min_len(64)
        .enumerate()
        .for_each(|(element, row)| {
            for (first, count) in tile::groups(vectors, cpu.widest) {
                let width = count * lanes;
                let start = window_len * first * lanes + element * width;
                let from = first * lanes;
                let row = &mut row[from..channels.min(from + width)];
                row.copy_from_slice(&partial[start..start + row.len()]);
                for later in 1..slices {
                    let start = start + later * slice;
                    let numbers = &partial[start..start + row.len()];
                    for (sum, number) in row.iter_mut().zip(numbers) {
                        *sum += number;
                    }
                }
            }
        });
}
