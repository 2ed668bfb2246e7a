//! Adjusts the loss scale after a step.

use super::Cpu;
use super::call::Call;
use super::loss_scale::change;
use crate::graph::ops::{AdjustLossScale, Metrics};

pub(super) fn run(_: &Cpu, _: &AdjustLossScale, mut call: Call<'_>) {
    let mut diverged = false;
    change(call.result_words(0), |scale| diverged = scale.adjust());
    if diverged {
        let words = call.result_words(1);
        let mut metrics = Metrics::from_words(words);
        metrics.flags |= Metrics::BAD_GRADIENT;
        words.copy_from_slice(&metrics.to_words());
    }
}
