//! Element-type conversion: a copy, as this device stores f32 only.

use super::Cpu;
use super::call::Call;
use crate::graph::ops::Convert;

pub(super) fn run(_: &Cpu, op: &Convert, mut call: Call<'_>) {
    let x = op.inputs(&call.operands()).x;
    call.result(0).copy_from_slice(call.numbers(x));
}
