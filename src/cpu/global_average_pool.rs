//! Global average pooling.

use super::Cpu;
use super::call::Call;
use super::lines::for_each_line;
use crate::graph::ops::GlobalAveragePool;

pub(super) fn run(cpu: &Cpu, op: &GlobalAveragePool, mut call: Call<'_>) {
    let x = call.plane(op.inputs(&call.operands()).x);
    let pixels = op.views * x.size[0] * x.size[1];
    for_each_line(
        cpu,
        call.result_extent(0),
        call.result(0),
        #[inline(always)]
        |image, _, y| {
            y.fill(0.0);
            let maps = x.images(image * op.views..(image + 1) * op.views);
            for pixel in maps.chunks_exact(x.channels) {
                for (y, x) in y.iter_mut().zip(pixel) {
                    *y += x;
                }
            }
            for y in y {
                *y /= pixels as f32;
            }
        },
    );
}
