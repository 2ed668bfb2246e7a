//! Sum of each channel over all rows.

use super::Cpu;
use super::call::Call;
use crate::graph::ops::ColumnSum;

pub(super) fn run(_: &Cpu, op: &ColumnSum, mut call: Call<'_>) {
    let x = call.plane(op.inputs(&call.operands()).x);
    let mut sums = vec![0.0f64; x.channels];
    for row in x.numbers.chunks_exact(x.channels) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    for (result, sum) in call.result(0).iter_mut().zip(sums) {
        *result = sum as f32;
    }
}
