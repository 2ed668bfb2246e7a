//! Max-pooling: the maximum of each window and its argmax index.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::MaxPool;

pub(super) fn run(cpu: &Cpu, op: &MaxPool, mut call: Call<'_>) {
    let operand = op.inputs(&call.operands()).x;
    let results = op.outputs(&call.results());
    let (x, channels) = (call.plane(operand), call.shape(operand).last());
    let extent = call.result_extent(results.maximum);
    let (y, argmax) = (
        call.result(results.maximum),
        call.result_words(results.argmax),
    );
    let line = extent.size[1] * extent.channels;
    let lines = y.par_chunks_mut(line).zip(argmax.par_chunks_mut(line));
    lines.enumerate().for_each(|(line, (y, argmax))| {
        let (image, row) = (line / extent.size[0], line % extent.size[0]);
        let from = Source {
            numbers: x.image(image),
            size: x.size,
            channels,
            stored: x.channels,
            row,
        };
        cpu.instructions.vectorise(
            #[inline(always)]
            || pool_line(op, &from, y, argmax),
        );
    });
}

struct Source<'a> {
    numbers: &'a [f32],
    size: [usize; 2],
    /// True channels.
    channels: usize,
    /// Stored channels.
    stored: usize,
    /// Row of the output.
    row: usize,
}

#[inline(always)]
fn pool_line(op: &MaxPool, from: &Source<'_>, y: &mut [f32], argmax: &mut [u32]) {
    let [height, width] = from.size;
    let pixels = y.chunks_exact_mut(from.stored);
    for (column, (y, argmax)) in pixels.zip(argmax.chunks_exact_mut(from.stored)).enumerate() {
        y[from.channels..].fill(0.0);
        argmax[from.channels..].fill(0);
        let mut found = false;
        for tap in 0..op.pooling.kernel * op.pooling.kernel {
            let row = op
                .pooling
                .window
                .input_index(from.row, tap / op.pooling.kernel, height);
            let column = op
                .pooling
                .window
                .input_index(column, tap % op.pooling.kernel, width);
            let (Some(row), Some(column)) = (row, column) else {
                continue;
            };
            let at = (row * width + column) * from.stored;
            let x = &from.numbers[at..at + from.channels];
            for ((y, index), x) in y.iter_mut().zip(argmax.iter_mut()).zip(x) {
                // NaN wins over any number; of equal values, the first wins.
                if !found || *x > *y || (x.is_nan() && !y.is_nan()) {
                    (*y, *index) = (*x, tap as u32);
                }
            }
            found = true;
        }
    }
}
