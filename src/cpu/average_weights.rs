//! Exponential moving averages of weights.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::AverageWeights;

pub(super) fn run(cpu: &Cpu, op: &AverageWeights, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let scale = named.scale.map(|scale| call.words(scale));
    if op.is_skipped(call.words(named.metrics), scale) {
        return;
    }
    let weight = op.weight();
    let values = named.values.into_iter().enumerate();
    let pairs: Vec<_> = values
        .map(|(i, value)| (call.result(i), call.numbers(value)))
        .collect();
    pairs.into_par_iter().for_each(|(averages, values)| {
        cpu.instructions.vectorise(
            #[inline(always)]
            || {
                for (average, value) in averages.iter_mut().zip(values) {
                    *average += weight * (value - *average);
                }
            },
        );
    });
}
