//! Stochastic gradient descent with Nesterov momentum and weight decay.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{LossScale, Metrics, Sgd};

pub(super) fn run(cpu: &Cpu, op: &Sgd, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let scale = match named.scale {
        Some(scale) => LossScale::from_words(call.words(scale)),
        None => LossScale::unscaled(),
    };
    if scale.overflow != 0 {
        return;
    }
    let divisor = scale.scale;
    let step = call.step(named.step);
    let [rate, momentum, decay] = [step.learning_rate, step.momentum, step.weight_decay];
    let tensors = results.parameters.iter().zip(&results.velocities);
    let values: Vec<_> = tensors
        .zip(&named.gradients)
        .map(|((p, v), g)| (call.result(*p), call.result(*v), call.numbers(*g)))
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
        let metrics = call.result_words(results.metrics);
        let mut sum = Metrics::from_words(metrics);
        sum.flags |= Metrics::BAD_GRADIENT;
        metrics.copy_from_slice(&sum.to_words());
    }
}
