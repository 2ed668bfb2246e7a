//! Loss weights times the loss scale.

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{LossScale, ScaleLoss};

pub(super) fn run(_: &Cpu, op: &ScaleLoss, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let scale = LossScale::from_words(call.words(named.scale)).scale;
    for (scaled, weight) in call.result(0).iter_mut().zip(call.numbers(named.weights)) {
        *scaled = weight * scale;
    }
}
