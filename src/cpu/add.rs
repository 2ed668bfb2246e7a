//! Elementwise sum.

use super::Cpu;
use super::call::Call;
use super::columns::{TASK, for_each_part};
use crate::graph::ops::Add;

pub(super) fn run(cpu: &Cpu, op: &Add, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let operands = [call.numbers(named.a), call.numbers(named.b)];
    for_each_part(
        cpu,
        TASK,
        call.result(0),
        operands,
        #[inline(always)]
        |y, a, b| {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        },
    );
}
