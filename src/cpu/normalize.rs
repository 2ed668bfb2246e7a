//! Normalisation by batch-norm coefficients, optionally with ReLU.

use super::Cpu;
use super::batch_norm::{Channels, normalize_part};
use super::call::Call;
use super::columns::for_each_part;
use crate::graph::ops::Normalize;

pub(super) fn run(cpu: &Cpu, op: &Normalize, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let x = call.plane(named.x);
    let moments = call.numbers(named.norm.moments);
    let affine = call.numbers(named.norm.affine);
    let channels = Channels::new(x.channels, moments, affine, op.epsilon);
    let columns = channels.columns;
    for_each_part(
        cpu,
        columns.task,
        call.result(0),
        [x.numbers; 2],
        #[inline(always)]
        |y, x, _| normalize_part(&channels, op.relu, y, x),
    );
}
