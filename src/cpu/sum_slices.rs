//! The sum of slices of partial sums, of which this device leaves one.

use super::Cpu;
use super::call::Call;
use crate::graph::ops::SumSlices;

pub(super) fn run(_: &Cpu, op: &SumSlices, mut call: Call<'_>) {
    let partial = op.inputs(&call.operands()).partial;
    call.result(0).copy_from_slice(call.numbers(partial));
}
