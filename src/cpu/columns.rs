//! Vectorised loops over rows of channels, for any number of channels.
//!
//! A row of 20 channels does not fill a whole number of vectors, but a few rows together do.
//! Per-channel coefficients are therefore repeated until they fill whole vectors, and loops
//! process such *blocks* of rows; the remaining rows fill the beginning of a block.

use pulp::Simd;
use rayon::prelude::*;

use super::Cpu;
use crate::shape::LANES;

/// The length of a block is a multiple of this: two of the widest vectors.
const FILL: usize = 32;

/// Minimum number of elements that justifies a task.
pub(super) const TASK: usize = 1 << 14;

/// Rows of channels, divided into blocks, and blocks into tasks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) channels: usize,
    /// Elements of a block.
    pub(super) block: usize,
    /// Elements of a task, a multiple of the block.
    pub(super) task: usize,
}

impl Columns {
    /// For rows of `channels` stored channels.
    pub(super) fn new(channels: usize) -> Columns {
        debug_assert_eq!(channels % LANES, 0);
        let rows = FILL / gcd(channels.max(1), FILL);
        let block = rows * channels;
        Columns {
            channels,
            block,
            task: TASK.next_multiple_of(block.max(1)),
        }
    }

    /// Per-channel values, repeated for all rows of a block.
    pub(super) fn repeat(&self, channels: impl Fn(usize) -> f32) -> Vec<f32> {
        let row: Vec<f32> = (0..self.channels).map(channels).collect();
        row.repeat(self.block / self.channels.max(1))
    }

    /// Calls `add(channel, value)` for each element of a block.
    pub(super) fn fold(&self, block: &[f32], mut add: impl FnMut(usize, f64)) {
        for (i, number) in block.iter().enumerate() {
            add(i % self.channels, f64::from(*number));
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Calls `work` with corresponding vectors of the operands and their index within a block; the
/// last vector may be zero-padded.
///
/// For loops with too many operands for automatic vectorisation.
#[inline(always)]
pub(super) fn for_each_vector<S: Simd, const N: usize>(
    simd: S,
    block: usize,
    operands: [&[f32]; N],
    mut work: impl FnMut(usize, [S::f32s; N]),
) {
    let vectors = block / S::F32_LANES;
    let whole = operands.map(|operand| S::as_simd_f32s(operand).0);
    let rest = operands.map(|operand| S::as_simd_f32s(operand).1);
    let len = whole[0].len();
    let whole = whole.map(|vectors| &vectors[..len]);
    let mut at = 0;
    #[expect(clippy::needless_range_loop, reason = "all operands are indexed")]
    for i in 0..len {
        work(at, std::array::from_fn(|operand| whole[operand][i]));
        at = if at + 1 == vectors { 0 } else { at + 1 };
    }
    if !rest[0].is_empty() {
        work(at, rest.map(|rest| simd.partial_load_f32s(rest)));
    }
}

/// A block as vectors.
#[inline(always)]
pub(super) fn vectors<S: Simd>(numbers: &[f32]) -> &[S::f32s] {
    S::as_simd_f32s(numbers).0
}

/// Calls `work` with corresponding parts of a result and two operands, in parallel; each part
/// but the last has `task` elements.
pub(super) fn for_each_part(
    cpu: &Cpu,
    task: usize,
    result: &mut [f32],
    [a, b]: [&[f32]; 2],
    work: impl Fn(&mut [f32], &[f32], &[f32]) + Sync,
) {
    let parts = result.par_chunks_mut(task).zip(a.par_chunks(task));
    parts.zip(b.par_chunks(task)).for_each(|((result, a), b)| {
        cpu.instructions.vectorise(
            #[inline(always)]
            || work(result, a, b),
        );
    });
}
