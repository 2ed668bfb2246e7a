//! Batch norm: moments of a batch, normalisation with ReLU, and the gradients.

use pulp::Simd;
use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use super::columns::{Columns, for_each_part, for_each_vector, vectors};
use super::pooling::PoolBackward;
use super::simd::SimdKernel;
use crate::graph::ops::{
    BatchMoments, Normalize, NormalizeGrad, NormalizeGradReduce, RunningAverage,
};

/// Mean and variance of each channel.
///
/// Each task finds the mean and the sum of squared deviations of its rows, in two passes
/// over what lies in a cache; they are merged in order, by the formula of Chan et al.
/// (1983, "Algorithms for computing the sample variance").
pub(super) fn moments(cpu: &Cpu, op: &BatchMoments, mut call: Call<'_>) {
    let x = call.plane(0);
    let columns = Columns::new(x.channels);
    let channels = x.channels;
    let parts: Vec<(usize, Vec<f64>)> = x
        .numbers
        .par_chunks(columns.task)
        .map(|part| {
            let mut moments = vec![0.0; 2 * channels];
            cpu.instructions.vectorise(
                #[inline(always)]
                || part_moments(&columns, part, &mut moments),
            );
            (part.len() / channels, moments)
        })
        .collect();
    let mut merged = vec![0.0; 2 * channels];
    let mut count = 0.0;
    for (rows, part) in &parts {
        let rows = *rows as f64;
        let all = count + rows;
        for c in 0..channels {
            let delta = part[c] - merged[c];
            merged[c] += delta * rows / all;
            merged[channels + c] += part[channels + c] + delta * delta * count * rows / all;
        }
        count = all;
    }
    let moments = call.result(0);
    let (mean, variance) = moments.split_at_mut(channels);
    for c in 0..channels {
        mean[c] = merged[c] as f32;
        variance[c] = (merged[channels + c] / count) as f32;
    }
    if let Some(op) = &op.running {
        take_in(op, call.result(1), moments);
    }
}

/// Mean and sum of squared deviations of some rows.
#[inline(always)]
fn part_moments(columns: &Columns, part: &[f32], moments: &mut [f64]) {
    let channels = columns.channels;
    let rows = (part.len() / channels) as f64;
    let (mean, squares) = moments.split_at_mut(channels);
    let mut sums = vec![0.0f32; columns.block];
    let (blocks, rest) = part.split_at(part.len() / columns.block * columns.block);
    for block in blocks.chunks_exact(columns.block) {
        for (sum, x) in sums.iter_mut().zip(block) {
            *sum += x;
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x;
    }
    columns.fold(&sums, |c, sum| mean[c] += sum / rows);
    // Deviations from the rounded mean: what rounding changes is of second order.
    let centre = columns.repeat(|c| mean[c] as f32);
    sums.fill(0.0);
    for block in blocks.chunks_exact(columns.block) {
        for ((sum, x), centre) in sums.iter_mut().zip(block).zip(&centre) {
            *sum += (x - centre) * (x - centre);
        }
    }
    for ((sum, x), centre) in sums.iter_mut().zip(rest).zip(&centre) {
        *sum += (x - centre) * (x - centre);
    }
    columns.fold(&sums, |c, sum| squares[c] += sum);
}

/// What normalisation needs of each channel, repeated over a block.
pub(super) struct Channels {
    columns: Columns,
    mean: Vec<f32>,
    inverse: Vec<f32>,
    /// Scale over standard deviation.
    factor: Vec<f32>,
    shift: Vec<f32>,
}

impl Channels {
    pub(super) fn new(channels: usize, moments: &[f32], affine: &[f32], epsilon: f32) -> Channels {
        let columns = Columns::new(channels);
        let inverse = |c: usize| 1.0 / (moments[channels + c] + epsilon).sqrt();
        Channels {
            columns,
            mean: columns.repeat(|c| moments[c]),
            inverse: columns.repeat(inverse),
            factor: columns.repeat(|c| affine[c] * inverse(c)),
            shift: columns.repeat(|c| affine[channels + c]),
        }
    }
}

/// The normalised number, before ReLU: the backward pass must find the same sign.
#[inline(always)]
fn normalized(x: f32, mean: f32, factor: f32, shift: f32) -> f32 {
    (x - mean) * factor + shift
}

pub(super) fn normalize(cpu: &Cpu, op: &Normalize, mut call: Call<'_>) {
    let x = call.plane(0);
    let channels = Channels::new(x.channels, call.numbers(1), call.numbers(2), op.epsilon);
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

/// Normalises some rows.
#[inline(always)]
pub(super) fn normalize_part(channels: &Channels, relu: bool, y: &mut [f32], x: &[f32]) {
    match relu {
        true => normalize_rows::<true>(channels, y, x),
        false => normalize_rows::<false>(channels, y, x),
    }
}

#[inline(always)]
fn normalize_rows<const RELU: bool>(channels: &Channels, y: &mut [f32], x: &[f32]) {
    let block = channels.columns.block;
    for (y, x) in y.chunks_mut(block).zip(x.chunks(block)) {
        let numbers = y.iter_mut().zip(x).zip(&channels.mean);
        let numbers = numbers.zip(&channels.factor).zip(&channels.shift);
        for ((((y, x), mean), factor), shift) in numbers {
            let number = normalized(*x, *mean, *factor, *shift);
            // Not max, which would swallow a NaN.
            *y = if RELU && number < 0.0 { 0.0 } else { number };
        }
    }
}

/// Normalises what a convolution has just computed, while it is in a cache.
#[inline(always)]
pub(super) fn normalize_in_place(channels: &Channels, relu: bool, y: &mut [f32]) {
    for y in y.chunks_mut(channels.columns.block) {
        let numbers = y.iter_mut().zip(&channels.mean);
        let numbers = numbers.zip(&channels.factor).zip(&channels.shift);
        for (((y, mean), factor), shift) in numbers {
            let number = normalized(*y, *mean, *factor, *shift);
            *y = if relu && number < 0.0 { 0.0 } else { number };
        }
    }
}

/// Gradients of scale and shift.
pub(super) fn grad_reduce(cpu: &Cpu, op: &NormalizeGradReduce, mut call: Call<'_>) {
    let (x, dy) = (call.plane(0), call.plane(1));
    let channels = Channels::new(x.channels, call.numbers(2), call.numbers(3), op.epsilon);
    let columns = channels.columns;
    let parts: Vec<Vec<f64>> = x
        .numbers
        .par_chunks(columns.task)
        .zip(dy.numbers.par_chunks(columns.task))
        .map(|(x, dy)| {
            let mut sums = vec![0.0; 2 * columns.channels];
            cpu.instructions.run(Reduce {
                channels: &channels,
                relu: op.relu,
                operands: [x, dy],
                sums: &mut sums,
            });
            sums
        })
        .collect();
    for (i, result) in call.result(0).iter_mut().enumerate() {
        *result = parts.iter().map(|part| part[i]).sum::<f64>() as f32;
    }
}

/// dy where ReLU let the normalised number through, else 0; and x less its mean.
#[inline(always)]
fn masked<S: Simd>(
    simd: S,
    channels: &Channels,
    relu: bool,
    at: usize,
    [x, dy]: [S::f32s; 2],
) -> [S::f32s; 2] {
    let centred = simd.sub_f32s(x, vectors::<S>(&channels.mean)[at]);
    if !relu {
        return [dy, centred];
    }
    // As in `normalized`, rounding by rounding.
    let normal = simd.mul_f32s(centred, vectors::<S>(&channels.factor)[at]);
    let normal = simd.add_f32s(normal, vectors::<S>(&channels.shift)[at]);
    let zero = simd.splat_f32s(0.0);
    let off = simd.less_than_or_equal_f32s(normal, zero);
    [simd.select_f32s(off, zero, dy), centred]
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
        // Of dy · (x − mean), and of dy; the standard deviation comes at the end.
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

/// Gradient of the input.
pub(super) fn grad(cpu: &Cpu, op: &NormalizeGrad, mut call: Call<'_>) {
    let (x, dy) = (call.plane(0), call.plane(1));
    let channels = Channels::new(x.channels, call.numbers(2), call.numbers(3), op.epsilon);
    let (columns, count) = (channels.columns, x.channels);
    let daffine = call.numbers(4);
    // dx = factor · (dy − Σdy/rows − x̂ · Σ(dy·x̂)/rows), the sums only in training.
    let share = match op.batch {
        true => 1.0 / x.rows() as f32,
        false => 0.0,
    };
    let offset = columns.repeat(|c| daffine[count + c] * share);
    let slope = columns.repeat(|c| channels.inverse[c] * daffine[c] * share);
    let pool_backward = op
        .shortcut
        .as_ref()
        .map(|op| PoolBackward::new(op, call.plane(5)));
    let parts = call.result(0).par_chunks_mut(columns.task).enumerate();
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

pub(super) fn running_average(op: &RunningAverage, mut call: Call<'_>) {
    take_in(op, call.result(0), call.numbers(1));
}

/// Running statistics take in a batch's own, with the unbiased variance.
fn take_in(op: &RunningAverage, running: &mut [f32], moments: &[f32]) {
    let channels = moments.len() / 2;
    let correction = op.correction() as f32;
    for (i, (running, moment)) in running.iter_mut().zip(moments).enumerate() {
        let moment = if i < channels {
            *moment
        } else {
            moment * correction
        };
        *running = (1.0 - op.weight) * *running + op.weight * moment;
    }
}
