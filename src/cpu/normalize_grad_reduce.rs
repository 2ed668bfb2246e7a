//! Gradients of batch norm's scale and shift.

use pulp::Simd;
use rayon::prelude::*;

use super::Cpu;
use super::batch_norm::{Channels, masked};
use super::call::Call;
use super::columns::for_each_vector;
use super::simd::SimdKernel;
use crate::graph::ops::{NormalizeGradReduce, NormalizedOperands};

pub(super) fn run(cpu: &Cpu, op: &NormalizeGradReduce, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let x = call.plane(named.x);
    let (moments, affine) = (call.numbers(named.moments), call.numbers(named.affine));
    let channels = Channels::new(x.channels, moments, affine, op.epsilon);
    reduce(
        cpu,
        op,
        &channels,
        [x.numbers, call.numbers(named.dy)],
        call.result(0),
    );
}

/// The reduction of a gradient dy that another operator has computed, if its node has a result for
/// it.
pub(super) fn reduce_result(
    cpu: &Cpu,
    op: &Option<NormalizeGradReduce>,
    norm: Option<NormalizedOperands<usize>>,
    dy: &[f32],
    result: Option<usize>,
    call: &mut Call<'_>,
) {
    if let (Some(op), Some(norm), Some(result)) = (op, norm, result) {
        let x = call.plane(norm.x);
        let (moments, affine) = (call.numbers(norm.moments), call.numbers(norm.affine));
        let channels = Channels::new(x.channels, moments, affine, op.epsilon);
        reduce(cpu, op, &channels, [x.numbers, dy], call.result(result));
    }
}

/// Gradients of scale and shift, from x and dy.
fn reduce(
    cpu: &Cpu,
    op: &NormalizeGradReduce,
    channels: &Channels,
    [x, dy]: [&[f32]; 2],
    result: &mut [f32],
) {
    let columns = channels.columns;
    let parts: Vec<Vec<f64>> = x
        .par_chunks(columns.task)
        .zip(dy.par_chunks(columns.task))
        .map(|(x, dy)| {
            let mut sums = vec![0.0; 2 * columns.channels];
            cpu.instructions.run(Reduce {
                channels,
                relu: op.relu,
                operands: [x, dy],
                sums: &mut sums,
            });
            sums
        })
        .collect();
    for (i, result) in result.iter_mut().enumerate() {
        *result = parts.iter().map(|part| part[i]).sum::<f64>() as f32;
    }
}

/// The sums of some rows.
struct Reduce<'a> {
    channels: &'a Channels,
    relu: bool,
    /// x and dy.
    operands: [&'a [f32]; 2],
    sums: &'a mut [f64],
}

impl SimdKernel for Reduce<'_> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        let columns = &self.channels.columns;
        // Sums of dy · (x − mean) and of dy; division by the standard deviation comes last.
        let mut scale = vec![0.0f32; columns.block];
        let mut shift = vec![0.0f32; columns.block];
        let scales = S::as_mut_simd_f32s(&mut scale).0;
        let shifts = S::as_mut_simd_f32s(&mut shift).0;
        for_each_vector(
            simd,
            columns.block,
            self.operands,
            #[inline(always)]
            |at, operands| {
                let [dy, centred] = masked(simd, self.channels, self.relu, at, operands);
                scales[at] = simd.mul_add_e_f32s(dy, centred, scales[at]);
                shifts[at] = simd.add_f32s(dy, shifts[at]);
            },
        );
        for (sum, inverse) in scale.iter_mut().zip(&self.channels.inverse) {
            *sum *= inverse;
        }
        let (scales, shifts) = self.sums.split_at_mut(columns.channels);
        columns.fold(&scale, |c, sum| scales[c] += sum);
        columns.fold(&shift, |c, sum| shifts[c] += sum);
    }
}
