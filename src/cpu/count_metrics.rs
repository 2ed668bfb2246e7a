//! Accumulates the loss and the number of correct answers.

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{CountMetrics, IGNORED, Metrics};

pub(super) fn run(_: &Cpu, op: &CountMetrics, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let (losses, ranks) = (call.numbers(named.losses), call.words(named.ranks));
    let words = call.result_words(0);
    let mut metrics = Metrics::from_words(words);
    let mut loss = 0.0;
    for (value, rank) in losses.iter().zip(ranks) {
        if *rank == IGNORED {
            continue;
        }
        loss += f64::from(*value);
        metrics.top1 += u32::from(*rank < 1);
        metrics.top5 += u32::from(*rank < 5);
        metrics.images += 1;
    }
    metrics.loss += loss as f32;
    metrics.halted += u32::from(metrics.diverged());
    words.copy_from_slice(&metrics.to_words());
}
