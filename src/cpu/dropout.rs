//! Dropout; the backward pass regenerates the mask.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::Dropout;
use crate::rng::{self, Purpose, philox4x32};
use crate::shape::LANES;

pub(super) fn run(cpu: &Cpu, op: &Dropout, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let (x, samples) = (call.plane(named.x), call.words(named.samples));
    let step = call.step(named.step);
    let key = rng::key(step.seed);
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
