//! Loops over the pixel rows of an activation.

use rayon::prelude::*;

use super::Cpu;
use super::call::Extent;
use super::columns::TASK;

/// Calls `work(image, row, elements)` for each pixel row of a result, in parallel.
pub(super) fn for_each_line(
    cpu: &Cpu,
    result: Extent,
    numbers: &mut [f32],
    work: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let line = result.size[1] * result.channels;
    let lines = numbers.par_chunks_mut(line.max(1));
    lines
        .with_min_len((TASK / line.max(1)).max(1))
        .enumerate()
        .for_each(|(line, numbers)| {
            let (image, row) = (line / result.size[0], line % result.size[0]);
            cpu.instructions.vectorise(
                #[inline(always)]
                || work(image, row, numbers),
            );
        });
}
