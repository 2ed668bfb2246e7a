//! Gradient of softmax cross-entropy with respect to the logits.

use super::Cpu;
use super::call::Call;
use super::cross_entropy::{finite, log_sum_exp, rows};
use crate::graph::ops::{IGNORED, SoftmaxCrossEntropyGrad};

pub(super) fn run(_: &Cpu, op: &SoftmaxCrossEntropyGrad, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let rows = rows(&call, named.logits, named.labels);
    let weights = call.numbers(named.weights);
    let channels = call.result_extent(0).channels;
    let gradients = call.result(0);
    gradients.fill(0.0);
    let gradients = gradients.chunks_exact_mut(channels);
    for (((logits, target), weight), gradient) in rows.zip(weights).zip(gradients) {
        if target.label == IGNORED {
            continue;
        }
        if !finite(&logits) {
            gradient[..logits.len()].fill(f32::NAN);
            continue;
        }
        let total = log_sum_exp(&logits);
        for (class, (gradient, logit)) in gradient.iter_mut().zip(&logits).enumerate() {
            let wanted = target.probability(class, logits.len(), op.smoothing);
            *gradient = (f64::from(*weight) * ((logit - total).exp() - wanted)) as f32;
        }
    }
}
