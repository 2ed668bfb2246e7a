//! The inner loops of the convolutions: a tile of accumulators in vector registers.
//!
//! Output channels are divided into groups of a few vectors. A tile is some rows by one group,
//! as large as the registers allow, so that every load serves many multiply-adds: a row's element
//! all vectors of the group, a group's vector all rows.

use std::sync::atomic::{Ordering, compiler_fence};

use pulp::Simd;

/// Maximum number of vectors in a group, for a number of registers.
pub(super) const fn widest(registers: usize) -> usize {
    match registers {
        32 => 5,
        15 => 4,
        _ => 3,
    }
}

/// Divides vectors into groups as equal as possible: first vector and number of vectors.
pub(super) fn groups(vectors: usize, widest: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = vectors.div_ceil(widest);
    (0..count).map(move |group| {
        let first = vectors * group / count;
        (first, vectors * (group + 1) / count - first)
    })
}

/// The computation of a tile, generic over its rows and vectors.
pub(super) trait RegisterTile {
    fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(self, simd: S);
}

/// Runs a tile with as many rows as the registers allow for its number of vectors.
///
/// The sizes are measured: more rows spill registers, fewer repeat loads.
#[inline(always)]
pub(super) fn with_rows<S: Simd, const REGISTERS: usize>(
    simd: S,
    vectors: usize,
    tile: impl RegisterTile,
) {
    match (REGISTERS, vectors) {
        (32, 1) => tile.run::<S, 12, 1>(simd),
        (32, 2) => tile.run::<S, 8, 2>(simd),
        (32, 3) => tile.run::<S, 8, 3>(simd),
        (32, 4) => tile.run::<S, 6, 4>(simd),
        (32, 5) => tile.run::<S, 5, 5>(simd),
        // WebAssembly engines load the elements of all rows first, and without a fused
        // multiply-add a product needs a register. One accumulator too many doubles the time:
        // each step then waits for a store and a reload.
        (15, 1) => tile.run::<S, 6, 1>(simd),
        (15, 2) => tile.run::<S, 4, 2>(simd),
        (15, 3) => tile.run::<S, 2, 3>(simd),
        (15, 4) => tile.run::<S, 2, 4>(simd),
        (_, 1) => tile.run::<S, 8, 1>(simd),
        (_, 2) => tile.run::<S, 6, 2>(simd),
        (_, 3) => tile.run::<S, 3, 3>(simd),
        _ => unreachable!("a group has at most {} vectors", widest(REGISTERS)),
    }
}

/// Repeats a block for each index below a constant, at most 12, as straight-line code: the compiler
/// unrolls nested loops over accumulators too late to keep them in registers.
macro_rules! unroll {
    ($index:ident in 0..$count:ident $block:block) => {
        unroll!(@ $index $count $block 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $index:ident $count:ident $block:block $($number:literal)*) => {
        $(if $number < $count {
            let $index = $number;
            $block
        })*
    };
}

/// Adds the products of a row's element and the vectors of a group, for every row.
#[inline(always)]
fn multiply_add<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    element: impl Fn(usize) -> f32,
    vectors: [S::f32s; VECTORS],
    sums: &mut [[S::f32s; VECTORS]; ROWS],
) {
    unroll!(row in 0..ROWS {
        // Otherwise the compiler loads the elements of all rows first, and stores accumulators for
        // want of registers.
        compiler_fence(Ordering::SeqCst);
        let number = simd.splat_f32s(element(row));
        unroll!(v in 0..VECTORS {
            sums[row][v] = simd.mul_add_e_f32s(number, vectors[v], sums[row][v]);
        });
    });
}

/// Adds to `sums` the sum over k of row[k] · weights[k], for rows of `source` and vectors of channels.
///
/// Each row starts at its base in `source`; `segments` are the parts of a row that are read,
/// as (offset from the base, length); `weights` has one entry for each element read.
#[inline(always)]
pub(super) fn rows_by_weights<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    source: &[f32],
    bases: [usize; ROWS],
    segments: &[(usize, usize)],
    mut weights: &[[S::f32s; VECTORS]],
    sums: &mut [[S::f32s; VECTORS]; ROWS],
) {
    // A copy of its own, which the compiler keeps in registers.
    let mut local = *sums;
    for &(offset, len) in segments {
        let rows: [&[f32]; ROWS] = std::array::from_fn(|row| &source[bases[row] + offset..][..len]);
        let (now, later) = weights.split_at(len);
        weights = later;
        // All slices have the same length, so no index is checked in the loop.
        for k in 0..len {
            multiply_add(
                simd,
                #[inline(always)]
                |row| rows[row][k],
                now[k],
                &mut local,
            );
        }
    }
    *sums = local;
}

/// Lines of pixels, and the distances of their elements in a source.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    /// Pixels of a line.
    pub(super) columns: usize,
    /// Distance between lines.
    pub(super) line: usize,
    /// Distance between pixels.
    pub(super) column: usize,
}

/// Adds to `sums` the sum over pixels of source[offset + distance of the pixel] · gradient[pixel],
/// for offsets of window elements in `source` and vectors of channels.
#[inline(always)]
pub(super) fn elements_by_gradient<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    source: &[f32],
    offsets: [usize; ROWS],
    lines: Lines,
    gradient: &[[S::f32s; VECTORS]],
    sums: &mut [[S::f32s; VECTORS]; ROWS],
) {
    let Lines {
        columns, column, ..
    } = lines;
    if columns == 0 {
        return;
    }
    let mut local = *sums;
    for (line, gradient) in gradient.chunks_exact(columns).enumerate() {
        let span = (columns - 1) * column + 1;
        // All slices have the same length, so one check of the index serves all.
        let rows: [&[f32]; ROWS] =
            std::array::from_fn(|row| &source[line * lines.line + offsets[row]..][..span]);
        let mut at = 0;
        for now in gradient {
            multiply_add(
                simd,
                #[inline(always)]
                |row| rows[row][at],
                *now,
                &mut local,
            );
            at += column;
        }
    }
    *sums = local;
}

/// Stores vectors, truncated to the length of `numbers`.
#[inline(always)]
pub(super) fn store<S: Simd>(simd: S, numbers: &mut [f32], vectors: &[S::f32s]) {
    let (whole, rest) = S::as_mut_simd_f32s(numbers);
    for (place, vector) in whole.iter_mut().zip(vectors) {
        *place = *vector;
    }
    if let (false, Some(vector)) = (rest.is_empty(), vectors.get(whole.len())) {
        simd.partial_store_f32s(rest, *vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_cover_everything_once_and_evenly() {
        for vectors in 1..100 {
            for widest in [3, 4, 5] {
                let mut next = 0;
                for (first, count) in groups(vectors, widest) {
                    assert_eq!(first, next);
                    assert!((1..=widest).contains(&count), "{vectors}: {count}");
                    next = first + count;
                }
                assert_eq!(next, vectors);
            }
        }
    }
}
