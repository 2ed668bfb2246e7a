//! The residual sum of a unit: branch plus zero-padded shortcut.

use super::Cpu;
use super::batch_moments;
use super::batch_norm::{Channels, normalize_part};
use super::call::Call;
use super::lines::for_each_line;
use super::shortcut::window;
use crate::graph::ops::ShortcutAdd;

pub(super) fn run(cpu: &Cpu, op: &ShortcutAdd, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let (branch, x) = (call.plane(named.branch), call.plane(named.x));
    let extent = call.result_extent(0);
    let (stride, wide) = (op.stride, extent.channels);
    let normalize = op.normalize.as_ref().zip(named.norm);
    let normalize = normalize.map(|(op, norm)| {
        let (moments, affine) = (call.numbers(norm.moments), call.numbers(norm.affine));
        Channels::new(wide, moments, affine, op.epsilon)
    });
    let sum = call.result(results.y);
    for_each_line(
        cpu,
        extent,
        sum,
        #[inline(always)]
        |image, row, y| {
            let line = row * branch.size[1] * wide;
            let branch = &branch.image(image)[line..line + y.len()];
            match &normalize {
                Some(channels) => normalize_part(channels, false, y, branch),
                None => y.copy_from_slice(branch),
            }
            let x_image = x.image(image);
            let rows = window(row, stride, x.size[0]);
            for (column, y) in y.chunks_exact_mut(wide).enumerate() {
                let columns = window(column, stride, x.size[1]);
                let share = 1.0 / (rows.len() * columns.len()) as f32;
                for row in rows.clone() {
                    for column in columns.clone() {
                        let at = (row * x.size[1] + column) * x.channels;
                        let x = &x_image[at..at + x.channels];
                        for (y, x) in y.iter_mut().zip(x) {
                            *y += x * share;
                        }
                    }
                }
            }
        },
    );
    if let Some(partial) = results.partial_moments {
        batch_moments::partial(cpu, sum, wide, call.result(partial));
    }
}
