//! Input gradient of the zero-padded shortcut.

use super::Cpu;
use super::call::Call;
use super::lines::for_each_line;
use super::shortcut::PoolBackward;
use crate::graph::ops::ShortcutGrad;

pub(super) fn run(cpu: &Cpu, op: &ShortcutGrad, mut call: Call<'_>) {
    let pool_backward = PoolBackward::new(op, call.plane(op.inputs(&call.operands()).dy));
    let extent = call.result_extent(0);
    for_each_line(
        cpu,
        extent,
        call.result(0),
        #[inline(always)]
        |image, row, dx| {
            dx.fill(0.0);
            let first = (image * extent.size[0] + row) * extent.size[1];
            pool_backward.add_to(dx, first, extent.channels);
        },
    );
}
