//! Input gradient of batch norm.

use pulp::Simd;
use rayon::prelude::*;

use super::Cpu;
use super::batch_norm::{Channels, masked};
use super::call::Call;
use super::columns::{for_each_vector, vectors};
use super::normalize_grad_reduce::reduce_result;
use super::shortcut::PoolBackward;
use super::simd::SimdKernel;
use crate::graph::ops::NormalizeGrad;

pub(super) fn run(cpu: &Cpu, op: &NormalizeGrad, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let (x, dy) = (call.plane(named.x), call.plane(named.dy));
    let (moments, affine) = (call.numbers(named.moments), call.numbers(named.affine));
    let channels = Channels::new(x.channels, moments, affine, op.epsilon);
    let (columns, count) = (channels.columns, x.channels);
    let daffine = call.numbers(named.daffine);
    // dx = factor · (dy − Σdy/rows − x̂ · Σ(dy·x̂)/rows); the sums only with batch statistics.
    let share = match op.batch {
        true => 1.0 / x.rows() as f32,
        false => 0.0,
    };
    let offset = columns.repeat(|c| daffine[count + c] * share);
    let slope = columns.repeat(|c| channels.inverse[c] * daffine[c] * share);
    let shortcut = op.shortcut.as_ref().zip(named.dsum);
    let pool_backward = shortcut.map(|(op, dsum)| PoolBackward::new(op, call.plane(dsum)));
    let results = op.outputs(&call.results());
    let dx = call.result(results.dx);
    let parts = dx.par_chunks_mut(columns.task).enumerate();
    let operands = x.numbers.par_chunks(columns.task);
    let operands = operands.zip(dy.numbers.par_chunks(columns.task));
    parts.zip(operands).for_each(|((part, dx), (x, dy))| {
        cpu.instructions.run(Grad {
            channels: &channels,
            relu: op.relu,
            offset: &offset,
            slope: &slope,
            operands: [x, dy],
            dx,
        });
        if let Some(pool_backward) = &pool_backward {
            let first = part * columns.task / count;
            cpu.instructions.vectorise(
                #[inline(always)]
                || pool_backward.add_to(dx, first, count),
            );
        }
    });
    let partial = results.partial_affine;
    reduce_result(cpu, &op.partial_affine, named.norm, dx, partial, &mut call);
}

/// The gradient of some rows.
struct Grad<'a> {
    channels: &'a Channels,
    relu: bool,
    offset: &'a [f32],
    slope: &'a [f32],
    /// x and dy.
    operands: [&'a [f32]; 2],
    dx: &'a mut [f32],
}

impl SimdKernel for Grad<'_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        let channels = self.channels;
        let (offset, slope) = (vectors::<S>(self.offset), vectors::<S>(self.slope));
        let factor = vectors::<S>(&channels.factor);
        let (whole, rest) = S::as_mut_simd_f32s(self.dx);
        let mut results = whole.iter_mut();
        for_each_vector(
            simd,
            channels.columns.block,
            self.operands,
            #[inline(always)]
            |at, operands| {
                let [dy, centred] = masked(simd, channels, self.relu, at, operands);
                let dx = simd.sub_f32s(dy, offset[at]);
                let dx = simd.sub_f32s(dx, simd.mul_f32s(centred, slope[at]));
                let dx = simd.mul_f32s(dx, factor[at]);
                match results.next() {
                    Some(result) => *result = dx,
                    None => simd.partial_store_f32s(rest, dx),
                }
            },
        );
    }
}
