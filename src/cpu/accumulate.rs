//! Adds gradients to their sums over micro-batches.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::Accumulate;

pub(super) fn run(cpu: &Cpu, op: &Accumulate, mut call: Call<'_>) {
    let gradients = op.inputs(&call.operands()).gradients.into_iter();
    let values: Vec<_> = gradients
        .enumerate()
        .map(|(i, gradient)| (call.result(i), call.numbers(gradient)))
        .collect();
    values.into_par_iter().for_each(|(sums, gradients)| {
        cpu.instructions.vectorise(
            #[inline(always)]
            || {
                for (sum, gradient) in sums.iter_mut().zip(gradients) {
                    *sum += gradient;
                }
            },
        );
    });
}
