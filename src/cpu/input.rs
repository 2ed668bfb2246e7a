//! What draws random numbers: batches out of images, and dropout.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{AssembleBatch, Dropout};
use crate::rng::{Purpose, philox4x32};
use crate::shape::LANES;

pub(super) fn assemble_batch(op: &AssembleBatch, mut call: Call<'_>) {
    let (images, rows, samples) = (call.words(0), call.words(1), call.words(2));
    let step = call.step(3);
    let extent = call.result_extent(0);
    let words = AssembleBatch::image_words(op.size);
    let batch = call.result(0).par_chunks_mut(extent.image_len());
    batch.zip(rows).zip(samples).for_each(|((x, row), sample)| {
        let image = &images[*row as usize * words..(*row as usize + 1) * words];
        let bytes: &[u8] = bytemuck::cast_slice(image);
        let (down, right, flip) = op.augmentation(step, *sample);
        for (pixel, x) in x.chunks_exact_mut(LANES).enumerate() {
            x.fill(0.0);
            // A shift past the left or upper edge wraps to a huge number, past any edge.
            let h = (pixel / op.size + down).wrapping_sub(op.padding);
            let w = (pixel % op.size + right).wrapping_sub(op.padding);
            if h >= op.size || w >= op.size {
                continue;
            }
            let w = if flip { op.size - 1 - w } else { w };
            for c in 0..3 {
                let byte = f32::from(bytes[(h * op.size + w) * 3 + c]);
                x[c] = (byte - op.mean[c]) / op.std[c];
            }
        }
    });
}

pub(super) fn dropout(cpu: &Cpu, op: &Dropout, mut call: Call<'_>) {
    let (x, samples, step) = (call.plane(0), call.words(1), call.step(2));
    let key = [step.seed as u32, (step.seed >> 32) as u32];
    let rows = call.result(0).par_chunks_mut(x.channels);
    let operands = x.numbers.par_chunks(x.channels).zip(samples);
    rows.zip(operands).for_each(|(y, (x, sample))| {
        cpu.instructions.vectorise(
            #[inline(always)]
            || {
                let fours = y.chunks_exact_mut(LANES).zip(x.chunks_exact(LANES));
                for (i, (y, x)) in fours.enumerate() {
                    let counter = [i as u32, *sample, step.epoch, Purpose::Dropout as u32];
                    let words = philox4x32(counter, key);
                    for ((y, x), word) in y.iter_mut().zip(x).zip(words) {
                        let dropped = word < op.threshold();
                        *y = if dropped { 0.0 } else { x * op.scale() };
                    }
                }
            },
        );
    });
}
