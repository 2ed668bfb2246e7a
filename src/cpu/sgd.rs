//! Stochastic gradient descent with Nesterov momentum and weight decay.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::lasting;
use crate::graph::ops::{LossScale, Metrics, Sgd, vector_after};
use crate::graph::step::Step;

/// Elements that are checked before any of them is updated.
const CHUNK: usize = 1024;

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
    let step = call.step(named.step);
    let update = Update {
        divisor: scale.scale,
        factor: named.factor.map_or(1.0, |factor| call.numbers(factor)[0]),
        apply: scale.overflow == 0,
        step,
    };
    let (offsets, _) = lasting::offsets(named.gradients.iter().map(|g| call.shape(*g)));
    let tensors = results.parameters.iter().zip(&results.velocities);
    let values: Vec<_> = tensors
        .zip(&named.gradients)
        .map(|((p, v), g)| (call.result(*p), call.result(*v), call.numbers(*g)))
        .collect();
    let last_bad: Vec<[u32; 2]> = values
        .into_par_iter()
        .map(|(parameters, velocities, gradients)| {
            let mut last = [0, 0];
            cpu.instructions.vectorise(
                #[inline(always)]
                || update.all(parameters, velocities, gradients, &mut last),
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

/// The update of a tensor.
struct Update {
    /// The loss scale.
    divisor: f32,
    /// Factor that clips the gradients.
    factor: f32,
    /// Whether parameters and velocities change.
    apply: bool,
    step: Step,
}

impl Update {
    /// Updates all elements but those that would become NaN or infinite. `last` is set to one more
    /// than the index of the last element with a bad gradient, and of the last with a bad update.
    #[inline(always)]
    fn all(
        &self,
        parameters: &mut [f32],
        velocities: &mut [f32],
        gradients: &[f32],
        last: &mut [u32; 2],
    ) {
        let good = |(p, v): (f32, f32)| p.is_finite() & v.is_finite();
        let chunks = parameters
            .chunks_mut(CHUNK)
            .zip(velocities.chunks_mut(CHUNK));
        for (chunk, ((p, v), g)) in chunks.zip(gradients.chunks(CHUNK)).enumerate() {
            let mut all_good = true;
            for ((p, v), g) in p.iter().zip(&*v).zip(g) {
                all_good &= good(self.one(*p, *v, g / self.divisor));
            }
            if all_good && self.apply {
                for ((p, v), g) in p.iter_mut().zip(v).zip(g) {
                    (*p, *v) = self.one(*p, *v, g / self.divisor);
                }
                continue;
            }
            for (i, ((p, v), g)) in p.iter_mut().zip(v).zip(g).enumerate() {
                let gradient = g / self.divisor;
                let new = self.one(*p, *v, gradient);
                if !good(new) {
                    let kind = usize::from(gradient.is_finite());
                    last[kind] = (chunk * CHUNK + i + 1) as u32;
                } else if self.apply {
                    (*p, *v) = new;
                }
            }
        }
    }

    /// The new parameter and velocity.
    #[inline(always)]
    fn one(&self, p: f32, v: f32, gradient: f32) -> (f32, f32) {
        let Step {
            learning_rate,
            momentum,
            weight_decay,
            ..
        } = self.step;
        let g = gradient * self.factor + weight_decay * p;
        let v = momentum * v + g;
        (p - learning_rate * (g + momentum * v), v)
    }
}
