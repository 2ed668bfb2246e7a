//! Gradient of global average pooling.

use super::Cpu;
use super::call::Call;
use super::lines::for_each_line;
use crate::graph::ops::GlobalAveragePoolGrad;

pub(super) fn run(cpu: &Cpu, op: &GlobalAveragePoolGrad, mut call: Call<'_>) {
    let dy = call.plane(op.inputs(&call.operands()).dy);
    let extent = call.result_extent(0);
    let pixels = (op.views * extent.size[0] * extent.size[1]) as f32;
    for_each_line(
        cpu,
        extent,
        call.result(0),
        #[inline(always)]
        |image, _, dx| {
            let dy = dy.image(image / op.views);
            for dx in dx.chunks_exact_mut(dy.len()) {
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    *dx = dy / pixels;
                }
            }
        },
    );
}
