//! Running statistics of batch norm.

use super::Cpu;
use super::call::Call;
use crate::graph::ops::RunningAverage;

pub(super) fn run(_: &Cpu, op: &RunningAverage, mut call: Call<'_>) {
    let moments = op.inputs(&call.operands()).moments;
    take_in(op, call.result(0), call.numbers(moments));
}

/// Running statistics take in a batch's own, with the unbiased variance.
pub(super) fn take_in(op: &RunningAverage, running: &mut [f32], moments: &[f32]) {
    let channels = moments.len() / 2;
    let correction = op.correction() as f32;
    for (i, (running, moment)) in running.iter_mut().zip(moments).enumerate() {
        let moment = if i < channels {
            *moment
        } else {
            moment * correction
        };
        *running = (1.0 - op.weight) * *running + op.weight * moment;
    }
}
