//! Random factors on the images of a residual branch.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::ScaleBranch;

pub(super) fn run(cpu: &Cpu, op: &ScaleBranch, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let x = call.plane(named.x);
    let draws = named.samples.zip(named.step);
    let draws = draws.map(|(samples, step)| (call.words(samples), call.step(step)));
    let images = call.result(0).par_chunks_mut(x.image_len());
    let images = images.zip(x.numbers.par_chunks(x.image_len())).enumerate();
    images.for_each(|(image, (y, x))| {
        let factor = match &draws {
            Some((samples, step)) => op.factor(samples[image], step),
            None => op.undisturbed(),
        };
        cpu.instructions.vectorise(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = x * factor;
                }
            },
        );
    });
}
