//! ReLU.

use super::Cpu;
use super::call::Call;
use super::columns::{TASK, for_each_part};
use crate::graph::ops::Relu;

pub(super) fn run(cpu: &Cpu, op: &Relu, mut call: Call<'_>) {
    let x = op.inputs(&call.operands()).x;
    let operands = [call.numbers(x); 2];
    for_each_part(
        cpu,
        TASK,
        call.result(0),
        operands,
        #[inline(always)]
        |y, x, _| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = if *x < 0.0 { 0.0 } else { *x };
            }
        },
    );
}
