//! Adjusts the loss scale after a step.

use super::Cpu;
use super::call::Call;
use super::loss_scale::change;
use crate::graph::ops::{AdjustLossScale, LossScale};

pub(super) fn run(_: &Cpu, _: &AdjustLossScale, mut call: Call<'_>) {
    change(call.result_words(0), LossScale::adjust);
}
