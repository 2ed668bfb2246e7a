//! Operators that treat every number alike, and the optimiser.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use super::columns::{Columns, TASK, for_each_part};
use crate::graph::ops::{LossScale, Metrics, Sgd};

pub(super) fn add(cpu: &Cpu, mut call: Call<'_>) {
    let operands = [call.numbers(0), call.numbers(1)];
    for_each_part(
        cpu,
        TASK,
        call.result(0),
        operands,
        #[inline(always)]
        |y, a, b| {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = a + b;
            }
        },
    );
}

pub(super) fn relu(cpu: &Cpu, mut call: Call<'_>) {
    let operands = [call.numbers(0); 2];
    for_each_part(
        cpu,
        TASK,
        call.result(0),
        operands,
        #[inline(always)]
        |y, x, _| {
            for (y, x) in y.iter_mut().zip(x) {
                *y = if *x < 0.0 { 0.0 } else { *x };
            }
        },
    );
}

pub(super) fn relu_grad(cpu: &Cpu, mut call: Call<'_>) {
    let operands = [call.numbers(0), call.numbers(1)];
    for_each_part(
        cpu,
        TASK,
        call.result(0),
        operands,
        #[inline(always)]
        |dx, y, dy| {
            for ((dx, y), dy) in dx.iter_mut().zip(y).zip(dy) {
                // A NaN lets the gradient through.
                *dx = if *y <= 0.0 { 0.0 } else { *dy };
            }
        },
    );
}

pub(super) fn bias_add(cpu: &Cpu, mut call: Call<'_>) {
    let (x, bias) = (call.plane(0), call.numbers(1));
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

/// Sum of each channel over all rows.
pub(super) fn column_sum(mut call: Call<'_>) {
    let x = call.plane(0);
    let mut sums = vec![0.0f64; x.channels];
    for row in x.numbers.chunks_exact(x.channels) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += f64::from(*x);
        }
    }
    for (result, sum) in call.result(0).iter_mut().zip(sums) {
        *result = sum as f32;
    }
}

/// The same numbers.
pub(super) fn copy(mut call: Call<'_>) {
    call.result(0).copy_from_slice(call.numbers(0));
}

/// Adds gradients to their sums.
pub(super) fn accumulate(cpu: &Cpu, mut call: Call<'_>) {
    let n = call.operands() / 2;
    let values: Vec<_> = (0..n)
        .map(|i| (call.result(i), call.numbers(n + i)))
        .collect();
    values.into_par_iter().for_each(|(sums, gradients)| {
        cpu.instructions.vectorise(
            #[inline(always)]
            || {
                for (sum, gradient) in sums.iter_mut().zip(gradients) {
                    *sum += gradient;
                }
            },
        );
    });
}

/// Stochastic gradient descent with Nesterov momentum and weight decay.
pub(super) fn sgd(cpu: &Cpu, op: &Sgd, mut call: Call<'_>) {
    let n = op.count(call.operands());
    let scale = match op.scaled {
        true => LossScale::from_words(call.words(3 * n + 2)),
        false => LossScale::none(),
    };
    if scale.overflow != 0 {
        return;
    }
    let divisor = scale.scale;
    let step = call.step(3 * n + 1);
    let [rate, momentum, decay] = [step.learning_rate, step.momentum, step.weight_decay];
    let values: Vec<_> = (0..n)
        .map(|i| (call.result(i), call.result(n + i), call.numbers(n + i)))
        .collect();
    let finite = values
        .into_par_iter()
        .map(|(parameters, velocities, gradients)| {
            let mut finite = true;
            cpu.instructions.vectorise(
                #[inline(always)]
                || {
                    let numbers = parameters.iter_mut().zip(velocities).zip(gradients);
                    for ((p, v), gradient) in numbers {
                        let gradient = gradient / divisor;
                        finite &= gradient.is_finite();
                        let g = gradient + decay * *p;
                        *v = momentum * *v + g;
                        *p -= rate * (g + momentum * *v);
                    }
                },
            );
            finite
        })
        .reduce(|| true, |a, b| a && b);
    if !finite {
        let metrics = call.result_words(2 * n);
        let mut sum = Metrics::from_words(metrics);
        sum.flags |= Metrics::BAD_GRADIENT;
        metrics.copy_from_slice(&sum.to_words());
    }
}
