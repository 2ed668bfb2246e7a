//! Running statistics of batch norm.

use super::Cpu;
use super::call::Call;
use crate::graph::ops::RunningAverage;

pub(super) fn run(_: &Cpu, op: &RunningAverage, mut call: Call<'_>) {
    let moments = op.inputs(&call.operands()).moments;
    update_running(op, call.result(0), call.numbers(moments));
}

/// Updates running statistics with those of a batch, its variance unbiased.
pub(super) fn update_running(op: &RunningAverage, running: &mut [f32], moments: &[f32]) {
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
