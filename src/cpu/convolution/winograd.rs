//! Winograd's convolution F(2x2, 3x3) (Lavin and Gray 2016, "Fast Algorithms for Convolutional
//! Neural Networks", section 4.1), for 3x3 windows with stride 1: 16 products for a tile of 2x2
//! results instead of 36.
//!
//! A tile's 4x4 source pixels are transformed along both axes; for each of the 16 components, the
//! tiles of a block are multiplied by that component's weights, a matrix product over channels;
//! the products of a tile are transformed to its results. F(4x4, 3x3) would save more products,
//! with rounding errors ten times as large.

use std::ops::Range;

use pulp::Simd;

use super::super::Cpu;
use super::super::call::{Extent, Plane};
use super::super::simd::SimdKernel;
use super::super::tile::{self, RegisterTile, rows_by_weights, store};
use super::{Block, Convolution, FusedNormalize};
use crate::graph::ops::Taps;

/// Results of a tile along one axis.
pub(super) const OUT: usize = 2;

/// Source pixels of a tile along one axis.
pub(super) const EXTENT: usize = 4;

/// Components of a tile.
pub(super) const COMPONENTS: usize = EXTENT * EXTENT;

/// Limit of a block's transformed source in elements, and minimum number of tiles that justifies
/// reading all weights.
const TRANSFORMED: usize = 1 << 16;
const LEAST_TILES: usize = 32;

/// Elements between the ends of components in memory, without which all of a tile would compete
/// for the same lines of the cache.
pub(super) const GAP: usize = 16;

/// Cost of transforming an element of the source or the result, in multiply-adds by a channel of
/// the other.
const TRANSFORM: usize = 8;

/// Cost of reading a weight, in multiply-adds.
const WEIGHT: usize = 4;

/// Minimum number of channels: the lanes of the widest vectors.
const LANES: usize = 16;

/// Whether this takes less time than direct convolution in windows of 3x3 with stride 1.
pub(super) fn wins(source: Extent, result: Extent) -> bool {
    let (inputs, outputs) = (source.channels, result.channels);
    let [rows, columns] = result.size;
    let tiles = result.batch * rows.div_ceil(OUT) * columns.div_ceil(OUT);
    let products = inputs * outputs;
    let direct = 9 * products * (result.rows() + WEIGHT);
    let own = COMPONENTS * (products * (tiles + WEIGHT) + tiles * TRANSFORM * (inputs + outputs));
    inputs.min(outputs) >= LANES && own < direct
}

/// Images and rows of the result that a task computes; rows of all of them if there is more than
/// one image.
pub(super) fn block(cpu: &Cpu, convolution: &Convolution<'_>) -> [usize; 2] {
    let Extent { batch, size, .. } = convolution.result;
    let [high, wide] = size.map(|extent| extent.div_ceil(OUT));
    let most = (TRANSFORMED / (COMPONENTS * convolution.source.channels)).max(LEAST_TILES);
    // At least a task for each thread.
    let share = (batch * high * wide).div_ceil(cpu.threads);
    let tiles = most.min(share);
    match tiles / (high * wide) {
        0 | 1 => [1, OUT * (tiles / wide).clamp(1, high)],
        images => [images, size[0]],
    }
}

/// Row `i` of the transform of three weights along an axis, for some lanes.
#[inline(always)]
pub(super) fn transform_weights<const N: usize>(
    i: usize,
    weights: &[[f32; N]; 3],
    row: &mut [f32],
) {
    let lanes = row.len();
    match i {
        0 => row.copy_from_slice(&weights[0][..lanes]),
        3 => row.copy_from_slice(&weights[2][..lanes]),
        _ => {
            let sign = if i == 1 { 0.5 } else { -0.5 };
            let [a, b, c] = weights;
            for (((row, a), b), c) in row.iter_mut().zip(a).zip(b).zip(c) {
                *row = 0.5 * (a + c) + sign * b;
            }
        }
    }
}

/// The transform of four source pixels along an axis.
#[inline(always)]
pub(super) fn source_line<S: Simd>(simd: S, d: [S::f32s; 4]) -> [S::f32s; 4] {
    [
        simd.sub_f32s(d[0], d[2]),
        simd.add_f32s(d[1], d[2]),
        simd.sub_f32s(d[2], d[1]),
        simd.sub_f32s(d[1], d[3]),
    ]
}

/// The transform of four products along an axis to two results.
#[inline(always)]
fn result_line<S: Simd>(simd: S, m: [S::f32s; 4]) -> [S::f32s; 2] {
    let even = simd.add_f32s(m[0], simd.add_f32s(m[1], m[2]));
    let odd = simd.sub_f32s(simd.sub_f32s(m[1], m[2]), m[3]);
    [even, odd]
}

/// Computes a block, which begins at an even row.
pub(super) fn run(
    cpu: &Cpu,
    convolution: &Convolution<'_>,
    taps: &[Taps; 2],
    packed: &[f32],
    block: Block,
    numbers: &mut [f32],
) {
    let rows = TileRows::new(taps, convolution.source.channels);
    let high = block.rows.len().div_ceil(OUT);
    let tiles = block.images.len() * high * rows.columns;
    let staged = rows.staged_len(high);
    let transformed = COMPONENTS * rows.component(tiles);
    let products = COMPONENTS * (tiles * cpu.widest * cpu.lanes + GAP);
    cpu.scratch
        .lend(staged + transformed + products, |scratch| {
            let (staged, rest) = scratch.split_at_mut(staged);
            let (transformed, products) = rest.split_at_mut(transformed);
            cpu.instructions.run(Winograd {
                convolution,
                rows,
                high,
                tiles,
                packed,
                block,
                numbers,
                staged,
                transformed,
                products,
            });
        });
}

/// Rows of tiles of an image.
pub(super) struct SourceRows<'a> {
    pub(super) plane: &'a Plane<'a>,
    pub(super) normalize: Option<&'a FusedNormalize>,
    pub(super) image: usize,
    pub(super) rows: Range<usize>,
}

/// The geometry of rows of tiles.
#[derive(Clone, Copy)]
pub(super) struct TileRows {
    /// The windows of whole tiles.
    taps: [Taps; 2],
    /// Tiles of a row.
    pub(super) columns: usize,
    /// Channels of the source.
    channels: usize,
}

impl TileRows {
    pub(super) fn new([height, width]: &[Taps; 2], channels: usize) -> TileRows {
        let columns = width.count.div_ceil(OUT);
        let count = OUT * columns;
        TileRows {
            taps: [*height, Taps { count, ..*width }],
            columns,
            channels,
        }
    }

    /// Elements of the copied source of some rows of tiles.
    pub(super) fn staged_len(&self, high: usize) -> usize {
        (OUT * high + EXTENT - OUT) * self.pitch()
    }

    /// Elements of a component of some tiles.
    pub(super) fn component(&self, tiles: usize) -> usize {
        tiles * self.channels + GAP
    }

    fn pitch(&self) -> usize {
        self.taps[1].receptive_extent() * self.channels
    }

    /// Transforms rows of tiles of an image. `transformed` has for each component the channels of
    /// `tiles` tiles; the first of these rows is tile `first`.
    #[inline(always)]
    pub(super) fn transform<S: Simd>(
        &self,
        simd: S,
        source: SourceRows<'_>,
        staged: &mut [f32],
        (first, tiles): (usize, usize),
        transformed: &mut [f32],
    ) {
        let SourceRows {
            plane,
            normalize,
            image,
            rows,
        } = source;
        let [height, width] = &self.taps;
        let cells = OUT * rows.start..OUT * rows.end;
        plane.stage(
            plane.image(image),
            [height, width],
            &cells,
            normalize,
            staged,
        );
        let (channels, pitch, component) = (self.channels, self.pitch(), self.component(tiles));
        let mut to = first * channels;
        for row in 0..rows.len() {
            for column in 0..self.columns {
                let from = &staged[OUT * (row * pitch + column * channels)..];
                for_each_vector::<S>(
                    channels,
                    #[inline(always)]
                    |at| {
                        let mut columns = [[simd.splat_f32s(0.0); EXTENT]; EXTENT];
                        for (j, line) in columns.iter_mut().enumerate() {
                            let [a, b, c, d] = [0, 1, 2, 3].map(|i| i * pitch + j * channels + at);
                            let pixels = [
                                load::<S>(from, a),
                                load::<S>(from, b),
                                load::<S>(from, c),
                                load::<S>(from, d),
                            ];
                            *line = source_line(simd, pixels);
                        }
                        let [a, b, c, d] = columns;
                        for i in 0..EXTENT {
                            let row = source_line(simd, [a[i], b[i], c[i], d[i]]);
                            for (j, number) in row.into_iter().enumerate() {
                                let at = (i * EXTENT + j) * component + to + at;
                                put::<S>(transformed, at, number);
                            }
                        }
                    },
                );
                to += channels;
            }
        }
    }
}

/// A task.
struct Winograd<'a> {
    convolution: &'a Convolution<'a>,
    rows: TileRows,
    /// Rows of tiles of an image, and tiles of all images.
    high: usize,
    tiles: usize,
    packed: &'a [f32],
    block: Block,
    numbers: &'a mut [f32],
    /// Source rows of one image.
    staged: &'a mut [f32],
    /// For each component, the channels of each tile.
    transformed: &'a mut [f32],
    /// For each component, the lanes of a group of each tile.
    products: &'a mut [f32],
}

impl SimdKernel for Winograd<'_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        let Convolution {
            source,
            result,
            normalize_input,
            ..
        } = self.convolution;
        let (rows, tiles) = (self.rows, self.tiles);
        for (index, image) in self.block.images.clone().enumerate() {
            let first = self.block.rows.start / OUT;
            let source = SourceRows {
                plane: source,
                normalize: normalize_input.as_ref(),
                image,
                rows: first..first + self.high,
            };
            let at = (index * self.high * rows.columns, tiles);
            rows.transform(simd, source, self.staged, at, self.transformed);
        }
        let vectors = result.channels.div_ceil(S::F32_LANES);
        let mut packed = self.packed;
        for (first, count) in tile::groups(vectors, tile::widest(REGISTERS)) {
            let len = COMPONENTS * source.channels * count * S::F32_LANES;
            let (weights, later) = packed.split_at(len);
            packed = later;
            let group = Group {
                size: [self.high, rows.columns],
                tiles,
                source_channels: source.channels,
                rows: self.block.rows.len(),
                width: result.size[1],
                channels: result.channels,
                first_channel: first * S::F32_LANES,
                transformed: self.transformed,
                weights,
                products: self.products,
                numbers: self.numbers,
            };
            tile::with_rows::<S, REGISTERS>(simd, count, group);
        }
    }
}

/// All tiles of a block by one group of result channels.
struct Group<'a> {
    /// Rows and columns of tiles of an image.
    size: [usize; 2],
    tiles: usize,
    source_channels: usize,
    /// Result rows of an image in the block, columns and channels.
    rows: usize,
    width: usize,
    channels: usize,
    first_channel: usize,
    transformed: &'a [f32],
    weights: &'a [f32],
    products: &'a mut [f32],
    numbers: &'a mut [f32],
}

impl RegisterTile for Group<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S) {
        let (count, channels, [high, wide]) = (self.tiles, self.source_channels, self.size);
        let lanes = VECTORS * S::F32_LANES;
        let stride = count * lanes + GAP;
        let components = self.transformed.chunks_exact(count * channels + GAP);
        let weights = self.weights.chunks_exact(channels * lanes);
        let products = self.products.chunks_exact_mut(stride);
        for ((source, weights), products) in components.zip(weights).zip(products) {
            let weights = S::as_simd_f32s(weights).0.as_chunks::<VECTORS>().0;
            let products = S::as_mut_simd_f32s(products).0.as_chunks_mut::<VECTORS>().0;
            let mut done = 0;
            while done < count {
                // Rows past the last tile recompute it and are not stored.
                let bases = std::array::from_fn(|row| (done + row).min(count - 1) * channels);
                let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
                rows_by_weights(simd, source, bases, &[(0, channels)], weights, &mut sums);
                for (product, sums) in products[done..].iter_mut().zip(&sums) {
                    *product = *sums;
                }
                done += ROWS;
            }
        }
        let mut tile = 0;
        for rows in self
            .numbers
            .chunks_exact_mut(self.rows * self.width * self.channels)
        {
            for (row, column) in (0..high).flat_map(|row| (0..wide).map(move |it| (row, it))) {
                let mut results = [[[simd.splat_f32s(0.0); VECTORS]; OUT]; OUT];
                #[expect(clippy::needless_range_loop, reason = "the vectors of four arrays")]
                for v in 0..VECTORS {
                    let at = tile * lanes + v * S::F32_LANES;
                    let mut columns = [[simd.splat_f32s(0.0); OUT]; EXTENT];
                    for (j, line) in columns.iter_mut().enumerate() {
                        let [a, b, c, d] = [0, 1, 2, 3].map(|i| (i * EXTENT + j) * stride + at);
                        let products = [
                            load::<S>(self.products, a),
                            load::<S>(self.products, b),
                            load::<S>(self.products, c),
                            load::<S>(self.products, d),
                        ];
                        *line = result_line(simd, products);
                    }
                    let [a, b, c, d] = columns;
                    for y in 0..OUT {
                        let row = result_line(simd, [a[y], b[y], c[y], d[y]]);
                        for x in 0..OUT {
                            results[y][x][v] = row[x];
                        }
                    }
                }
                for (y, results) in results.iter().enumerate().take(self.rows - OUT * row) {
                    let first = (OUT * row + y) * self.width + OUT * column;
                    let columns = results.iter().enumerate().take(self.width - OUT * column);
                    for (x, vectors) in columns {
                        let pixel = &mut rows[(first + x) * self.channels..][..self.channels];
                        store(simd, &mut pixel[self.first_channel..], vectors);
                    }
                }
                tile += 1;
            }
        }
    }
}

/// Calls `work` with the first element of vectors that cover a row of at least one vector; the
/// last overlaps the one before if they do not divide it.
#[inline(always)]
pub(super) fn for_each_vector<S: Simd>(len: usize, mut work: impl FnMut(usize)) {
    let last = len - S::F32_LANES;
    let mut at = 0;
    while at < last {
        work(at);
        at += S::F32_LANES;
    }
    work(last);
}

#[inline(always)]
pub(super) fn load<S: Simd>(numbers: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&numbers[at..][..S::F32_LANES]).0[0]
}

#[inline(always)]
pub(super) fn put<S: Simd>(numbers: &mut [f32], at: usize, vector: S::f32s) {
    S::as_mut_simd_f32s(&mut numbers[at..][..S::F32_LANES]).0[0] = vector;
}
