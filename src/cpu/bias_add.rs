//! Adds a bias to every row.

use super::Cpu;
use super::call::Call;
use super::columns::{Columns, for_each_part};
use crate::graph::ops::BiasAdd;

pub(super) fn run(cpu: &Cpu, op: &BiasAdd, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let (x, bias) = (call.plane(named.x), call.numbers(named.bias));
    let columns = Columns::new(x.channels);
    let bias = columns.repeat(|c| bias[c]);
    let operands = [x.numbers; 2];
    for_each_part(
        cpu,
        columns.task,
        call.result(0),
        operands,
        #[inline(always)]
        |y, x, _| {
            let blocks = y.chunks_mut(columns.block).zip(x.chunks(columns.block));
            for (y, x) in blocks {
                for ((y, x), bias) in y.iter_mut().zip(x).zip(&bias) {
                    *y = x + bias;
                }
            }
        },
    );
}
