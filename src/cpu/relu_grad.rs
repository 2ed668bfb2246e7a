//! Gradient of ReLU.

use super::Cpu;
use super::call::Call;
use super::columns::{TASK, for_each_part};
use crate::graph::ops::ReluGrad;

pub(super) fn run(cpu: &Cpu, op: &ReluGrad, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let operands = [call.numbers(named.y), call.numbers(named.dy)];
    for_each_part(
        cpu,
        TASK,
        call.result(0),
        operands,
        #[inline(always)]
        |dx, y, dy| {
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                // NaN passes the gradient.
                *dx = if *y <= 0.0 { 0.0 } else { *dy };
            }
        },
    );
}
