//! Flags an overflow if any gradient is NaN or infinite.

use super::Cpu;
use super::call::Call;
use super::loss_scale::change;
use crate::graph::ops::FindOverflow;

pub(super) fn run(_: &Cpu, op: &FindOverflow, mut call: Call<'_>) {
    let gradients = op.inputs(&call.operands()).gradients.into_iter();
    let mut all = gradients.flat_map(|gradient| call.numbers(gradient));
    if all.any(|number| !number.is_finite()) {
        change(call.result_words(0), |scale| scale.overflow = 1);
    }
}
