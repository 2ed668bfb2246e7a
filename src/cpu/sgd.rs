//! Stochastic gradient descent with Nesterov momentum and weight decay.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::lasting;
use crate::graph::ops::{LossScale, Metrics, Sgd, vector_after};

pub(super) fn run(cpu: &Cpu, op: &Sgd, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let scale = match named.scale {
        Some(scale) => LossScale::from_words(call.words(scale)),
        None => LossScale::unscaled(),
    };
    let metrics = call.result_words(results.metrics);
    let mut found = Metrics::from_words(metrics);
    if found.halted != 0 || scale.is_too_large() {
        return;
    }
    let divisor = scale.scale;
    let apply = scale.overflow == 0;
    let step = call.step(named.step);
    let [rate, momentum, decay] = [step.learning_rate, step.momentum, step.weight_decay];
    let (offsets, _) = lasting::offsets(named.gradients.iter().map(|g| call.shape(*g)));
    let tensors = results.parameters.iter().zip(&results.velocities);
    let values: Vec<_> = tensors
        .zip(&named.gradients)
        .map(|((p, v), g)| (call.result(*p), call.result(*v), call.numbers(*g)))
        .collect();
    let last_bad: Vec<[u32; 2]> = values
        .into_par_iter()
        .map(|(parameters, velocities, gradients)| {
            let count = parameters.len();
            let (velocities, gradients) = (&mut velocities[..count], &gradients[..count]);
            // One more than the last element with a bad gradient, and with a bad update.
            let mut last = [0, 0];
            cpu.instructions.vectorise(
                #[inline(always)]
                || {
                    for i in 0..count {
                        let (p, v) = (parameters[i], velocities[i]);
                        let gradient = gradients[i] / divisor;
                        let g = gradient + decay * p;
                        let new_v = momentum * v + g;
                        let new_p = p - rate * (g + momentum * new_v);
                        let good = new_v.is_finite() & new_p.is_finite();
                        let bad_gradient = !gradient.is_finite();
                        for (last, bad) in
                            last.iter_mut().zip([bad_gradient, !good & !bad_gradient])
                        {
                            *last = if bad { i as u32 + 1 } else { 0 }.max(*last);
                        }
                        velocities[i] = if good & apply { new_v } else { v };
                        parameters[i] = if good & apply { new_p } else { p };
                    }
                },
            );
            last
        })
        .collect();
    for (last, offset) in last_bad.into_iter().zip(offsets) {
        for (word, last) in [&mut found.gradient, &mut found.update]
            .into_iter()
            .zip(last)
        {
            if let Some(last) = last.checked_sub(1) {
                *word = vector_after(offset, last as usize).max(*word);
            }
        }
    }
    metrics.copy_from_slice(&found.to_words());
}
