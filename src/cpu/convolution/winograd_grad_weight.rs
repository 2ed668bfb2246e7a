//! Weight gradient by the transpose of Winograd's convolution F(2x2, 3x3): see `winograd.rs`.
//!
//! The forward pass is Aᵀ((G·g·Gᵀ) ⊙ (Bᵀ·d·B))A, so the gradient of g is Gᵀ((A·dy·Aᵀ) ⊙ (Bᵀ·d·B))G,
//! summed over tiles before the last transform: for each component, a matrix product over tiles.

use std::ops::Range;

use pulp::Simd;
use rayon::prelude::*;

use super::super::Cpu;
use super::super::call::Plane;
use super::super::simd::SimdKernel;
use super::super::tile::{self, Lines, RegisterTile, elements_by_gradient, store};
use super::FusedNormalize;
use super::slices::{Slices, Task};
use super::winograd::{COMPONENTS, EXTENT, GAP, OUT, SourceRows, TileRows, load, put};
use crate::graph::ops::Taps;

/// Minimum number of tiles of a slice: writing and adding its sums takes as long as some tiles.
const LEAST_TILES: usize = 128;

/// Limit of a block's transformed input in elements, and minimum number of tiles that justifies
/// reading and writing all sums.
const TRANSFORMED: usize = 1 << 16;
const LEAST_BLOCK: usize = 64;

/// Minimum number of elements of a task that adds slices.
const TASK: usize = 1 << 13;

/// Operands of a weight gradient.
#[derive(Clone, Copy)]
pub(in crate::cpu) struct Operands<'a> {
    pub(in crate::cpu) x: Plane<'a>,
    pub(in crate::cpu) normalize_input: Option<&'a FusedNormalize>,
    pub(in crate::cpu) dy: Plane<'a>,
}

/// Computes the gradient of weights [3, 3, I, O].
pub(in crate::cpu) fn run(cpu: &Cpu, operands: Operands<'_>, taps: &[Taps; 2], dw: &mut [f32]) {
    let (inputs, outputs) = (operands.x.channels, operands.dy.channels);
    let rows = TileRows::new(taps, inputs);
    let image_rows = operands.dy.size[0].div_ceil(OUT);
    let lines = operands.dy.batch * image_rows;
    let vectors = outputs.div_ceil(cpu.lanes);
    let groups: Vec<(usize, usize)> = tile::groups(vectors, cpu.widest).collect();

    let (least, all) = (
        LEAST_TILES.div_ceil(rows.columns),
        COMPONENTS * inputs * outputs,
    );
    let slices = Slices::new(lines, least, all, &groups);
    let block = (TRANSFORMED / (COMPONENTS * inputs)).max(LEAST_BLOCK);
    let block = block.div_ceil(rows.columns).min(slices.longest());
    let tiles = block * rows.columns;
    let scratch = rows.staged_len(block.min(image_rows))
        + COMPONENTS * (rows.component(tiles) + tiles * cpu.widest * cpu.lanes + GAP);
    let sums = COMPONENTS * inputs * cpu.lanes;
    cpu.scratch
        .lend(slices.count() * vectors * sums, |partial| {
            let tasks = slices.tasks(sums, partial);
            tasks.into_par_iter().for_each(|task| {
                cpu.scratch.lend(scratch, |scratch| {
                    cpu.instructions.run(Slice {
                        operands,
                        rows,
                        image_rows,
                        block,
                        task,
                        scratch,
                    });
                });
            });
            add_slices(cpu, partial, vectors * sums, &groups, [inputs, outputs], dw);
        });
}

/// A task: the sums of some groups over some rows of tiles.
struct Slice<'a> {
    operands: Operands<'a>,
    rows: TileRows,
    /// Rows of tiles of an image.
    image_rows: usize,
    /// Rows of tiles that are transformed at a time.
    block: usize,
    /// Rows of tiles of the batch; for each group, component and input channel, the group's lanes.
    task: Task<'a, 'a>,
    scratch: &'a mut [f32],
}

impl SimdKernel for Slice<'_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        let Operands {
            x,
            normalize_input,
            dy,
        } = self.operands;
        let inputs = x.channels;
        let most = self.block * self.rows.columns;
        let staged = self.rows.staged_len(self.block.min(self.image_rows));
        let (staged, rest) = self.scratch.split_at_mut(staged);
        let component = self.rows.component(most);
        let (transformed, gradient) = rest.split_at_mut(COMPONENTS * component);
        let mut parts: Vec<(usize, Range<usize>)> = Vec::new();
        let Task {
            rows: lines,
            groups,
            sums,
        } = self.task;
        let mut line = lines.start;
        while line < lines.end {
            let end = (line + self.block).min(lines.end);
            let tiles = (end - line) * self.rows.columns;
            parts.clear();
            while line < end {
                let (image, row) = (line / self.image_rows, line % self.image_rows);
                let count = (self.image_rows - row).min(end - line);
                parts.push((image, row..row + count));
                line += count;
            }
            let mut first = 0;
            for (image, rows) in &parts {
                let source = SourceRows {
                    plane: &x,
                    normalize: normalize_input,
                    image: *image,
                    rows: rows.clone(),
                };
                let at = (first, most);
                self.rows.transform(simd, source, staged, at, transformed);
                first += rows.len() * self.rows.columns;
            }
            let mut done = 0;
            for (first, count) in groups {
                let lanes = count * S::F32_LANES;
                let group = Group {
                    dy,
                    parts: &parts,
                    columns: self.rows.columns,
                    first_channel: first * S::F32_LANES,
                    tiles,
                    inputs,
                    component,
                    transformed,
                    gradient,
                    begins: end - tiles / self.rows.columns == lines.start,
                    sums: &mut sums[done..done + COMPONENTS * inputs * lanes],
                };
                done += COMPONENTS * inputs * lanes;
                tile::with_rows::<S, REGISTERS>(simd, *count, group);
            }
        }
    }
}

/// All tiles of a block by one group of output channels.
struct Group<'a> {
    dy: Plane<'a>,
    /// Images and their rows of tiles in the block.
    parts: &'a [(usize, Range<usize>)],
    /// Tiles of a row.
    columns: usize,
    first_channel: usize,
    tiles: usize,
    inputs: usize,
    /// Elements of a component of the transformed input.
    component: usize,
    transformed: &'a [f32],
    gradient: &'a mut [f32],
    /// Whether this block is the first: `sums` hold nothing yet.
    begins: bool,
    sums: &'a mut [f32],
}

impl RegisterTile for Group<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(mut self, simd: S) {
        let lanes = VECTORS * S::F32_LANES;
        let stride = self.tiles * lanes + GAP;
        self.transform_gradient::<S, VECTORS>(simd, stride);
        let inputs = self.inputs;
        for c in 0..COMPONENTS {
            let source = &self.transformed[c * self.component..][..self.tiles * inputs];
            let gradient = &self.gradient[c * stride..][..self.tiles * lanes];
            let gradient = S::as_simd_f32s(gradient).0.as_chunks::<VECTORS>().0;
            let sums = &mut self.sums[c * inputs * lanes..][..inputs * lanes];
            let sums = S::as_mut_simd_f32s(sums).0.as_chunks_mut::<VECTORS>().0;
            let mut done = 0;
            while done < inputs {
                // Rows past the last channel recompute it and are not stored.
                let channels: [usize; ROWS] =
                    std::array::from_fn(|row| (done + row).min(inputs - 1));
                let mut tile = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
                if !self.begins {
                    for (tile, channel) in tile.iter_mut().zip(channels) {
                        *tile = sums[channel];
                    }
                }
                let lines = Lines {
                    columns: self.tiles,
                    line: 0,
                    column: inputs,
                };
                elements_by_gradient(simd, source, channels, lines, gradient, &mut tile);
                for (sums, tile) in sums[done..].iter_mut().zip(&tile) {
                    *sums = *tile;
                }
                done += ROWS;
            }
        }
    }
}

impl Group<'_> {
    /// A·dy·Aᵀ of all tiles.
    #[inline(always)]
    fn transform_gradient<S: Simd, const VECTORS: usize>(&mut self, simd: S, stride: usize) {
        let [height, width] = self.dy.size;
        let channels = self.dy.channels;
        let zero = simd.splat_f32s(0.0);
        let mut to = 0;
        for (image, rows) in self.parts {
            let image = self.dy.image(*image);
            for (row, column) in rows
                .clone()
                .flat_map(|row| (0..self.columns).map(move |c| (row, c)))
            {
                for v in 0..VECTORS {
                    let first = self.first_channel + v * S::F32_LANES;
                    let last = channels.min(first + S::F32_LANES);
                    let mut pixels = [[zero; OUT]; OUT];
                    for (y, line) in pixels.iter_mut().enumerate().take(height - OUT * row) {
                        for (x, vector) in line.iter_mut().enumerate().take(width - OUT * column) {
                            let pixel = (OUT * row + y) * width + OUT * column + x;
                            let pixel = &image[pixel * channels..][first..last];
                            *vector = match pixel.len() == S::F32_LANES {
                                true => load::<S>(pixel, 0),
                                false => simd.partial_load_f32s(pixel),
                            };
                        }
                    }
                    let [a, b] = pixels;
                    let columns = [
                        gradient_line(simd, [a[0], b[0]]),
                        gradient_line(simd, [a[1], b[1]]),
                    ];
                    let [left, right] = columns;
                    for (i, (left, right)) in left.into_iter().zip(right).enumerate() {
                        let row = gradient_line(simd, [left, right]);
                        for (j, number) in row.into_iter().enumerate() {
                            let at = (i * EXTENT + j) * stride + to + v * S::F32_LANES;
                            put::<S>(self.gradient, at, number);
                        }
                    }
                }
                to += VECTORS * S::F32_LANES;
            }
        }
    }
}

/// The transform of two output gradients along an axis.
#[inline(always)]
fn gradient_line<S: Simd>(simd: S, [a, b]: [S::f32s; OUT]) -> [S::f32s; EXTENT] {
    let zero = simd.splat_f32s(0.0);
    [
        a,
        simd.add_f32s(a, b),
        simd.sub_f32s(a, b),
        simd.sub_f32s(zero, b),
    ]
}

/// Sums the slices and transforms the sums to the gradient.
fn add_slices(
    cpu: &Cpu,
    partial: &[f32],
    slice: usize,
    groups: &[(usize, usize)],
    [inputs, outputs]: [usize; 2],
    dw: &mut [f32],
) {
    let rows = TASK.div_ceil(COMPONENTS * outputs);
    let mut parts: Vec<Vec<&mut [f32]>> = Vec::new();
    parts.resize_with(inputs.div_ceil(rows), Vec::new);
    for tap in dw.chunks_exact_mut(inputs * outputs) {
        for (part, rows) in parts.iter_mut().zip(tap.chunks_mut(rows * outputs)) {
            part.push(rows);
        }
    }
    parts.into_par_iter().enumerate().for_each(|(part, taps)| {
        cpu.instructions.run(AddSlices {
            partial,
            slice,
            groups,
            inputs,
            outputs,
            first: part * rows,
            taps,
        });
    });
}

/// A task: the gradient for some input channels.
struct AddSlices<'a> {
    partial: &'a [f32],
    /// Elements of a slice.
    slice: usize,
    groups: &'a [(usize, usize)],
    inputs: usize,
    outputs: usize,
    /// First input channel.
    first: usize,
    /// For each tap, the output channels of each input channel.
    taps: Vec<&'a mut [f32]>,
}

impl SimdKernel for AddSlices<'_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(mut self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        for row in 0..self.taps[0].len() / self.outputs {
            let mut group = 0;
            for (first, count) in self.groups {
                let lanes = count * S::F32_LANES;
                for v in 0..*count {
                    let at = group + (self.first + row) * lanes + v * S::F32_LANES;
                    let mut lines = [[zero; 3]; EXTENT];
                    for (i, line) in lines.iter_mut().enumerate() {
                        let mut sums = [zero; EXTENT];
                        for (j, sum) in sums.iter_mut().enumerate() {
                            let at = at + (i * EXTENT + j) * self.inputs * lanes;
                            for slice in self.partial.chunks_exact(self.slice) {
                                *sum = simd.add_f32s(*sum, load::<S>(slice, at));
                            }
                        }
                        *line = weight_line(simd, sums);
                    }
                    let [p, q, r, s] = lines;
                    let channel = (first + v) * S::F32_LANES;
                    let last = self.outputs.min(channel + S::F32_LANES);
                    let to = row * self.outputs + channel..row * self.outputs + last;
                    for b in 0..3 {
                        let column = weight_line(simd, [p[b], q[b], r[b], s[b]]);
                        for (a, vector) in column.into_iter().enumerate() {
                            store(simd, &mut self.taps[3 * a + b][to.clone()], &[vector]);
                        }
                    }
                }
                group += COMPONENTS * self.inputs * lanes;
            }
        }
    }
}

/// Gᵀ along an axis: gradients of three weights from those of four components.
#[inline(always)]
fn weight_line<S: Simd>(simd: S, m: [S::f32s; EXTENT]) -> [S::f32s; 3] {
    let half = simd.splat_f32s(0.5);
    let even = simd.mul_f32s(half, simd.add_f32s(m[1], m[2]));
    [
        simd.add_f32s(m[0], even),
        simd.mul_f32s(half, simd.sub_f32s(m[1], m[2])),
        simd.add_f32s(even, m[3]),
    ]
}
