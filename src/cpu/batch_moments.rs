//! Mean and variance of each channel.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use super::columns::Columns;
use super::running_average::update_running;
use crate::graph::ops::BatchMoments;

pub(super) fn run(cpu: &Cpu, op: &BatchMoments, mut call: Call<'_>) {
    let x = call.plane(op.inputs(&call.operands()).x);
    let results = op.outputs(&call.results());
    let batch = call.result(results.moments);
    moments(cpu, x.numbers, x.channels, batch);
    if let (Some(op), Some(running)) = (&op.running, results.running) {
        update_running(op, call.result(running), batch);
    }
}

/// Partial moments of an activation, for [`super::merge_moments`]: this device writes one slice
/// of weight one, which holds the moments themselves.
pub(super) fn partial(cpu: &Cpu, x: &[f32], channels: usize, partial: &mut [f32]) {
    let (weight, batch) = partial.split_at_mut(channels);
    weight.fill(1.0);
    moments(cpu, x, channels, batch);
}

/// Mean and variance of each channel.
///
/// Each task computes the mean and the sum of squared deviations of its rows, in two passes
/// over cached data. The tasks' results are merged in order, by the formula of Chan et al. (1983,
/// "Algorithms for computing the sample variance").
pub(super) fn moments(cpu: &Cpu, x: &[f32], channels: usize, moments: &mut [f32]) {
    let columns = Columns::new(channels);
    let parts: Vec<(usize, Vec<f64>)> = x
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
    let (mean, variance) = moments.split_at_mut(channels);
    for c in 0..channels {
        mean[c] = merged[c] as f32;
        let exact = (merged[channels + c] / count) as f32;
        // An infinite variance would normalise to finite numbers and hide the overflow.
        variance[c] = if exact.is_finite() { exact } else { f32::NAN };
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
    // Deviations from the mean rounded to f32: the error is of second order.
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
