//! Mean and variance of each channel from partial moments: see [`super::batch_moments`].

use super::Cpu;
use super::call::Call;
use super::running_average::update_running;
use crate::graph::ops::MergeMoments;

pub(super) fn run(_: &Cpu, op: &MergeMoments, mut call: Call<'_>) {
    let partial = call.numbers(op.inputs(&call.operands()).partial);
    let results = op.outputs(&call.results());
    let batch = call.result(results.moments);
    // This device writes a single slice, of weight one.
    batch.copy_from_slice(&partial[partial.len() / 3..]);
    if let (Some(op), Some(running)) = (&op.running, results.running) {
        update_running(op, call.result(running), batch);
    }
}
