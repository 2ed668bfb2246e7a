//! Softmax cross-entropy of each image, and the rank of its label.

use super::Cpu;
use super::call::Call;
use super::cross_entropy::{finite, log_sum_exp, rows};
use crate::graph::ops::{IGNORED, SoftmaxCrossEntropy};

pub(super) fn run(_: &Cpu, op: &SoftmaxCrossEntropy, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let rows = rows(&call, named.logits, named.labels);
    let (losses, ranks) = (
        call.result(results.losses),
        call.result_words(results.ranks),
    );
    for ((logits, target), (loss, rank)) in rows.zip(losses.iter_mut().zip(ranks)) {
        if target.label == IGNORED {
            (*loss, *rank) = (0.0, IGNORED);
            continue;
        }
        if !finite(&logits) {
            (*loss, *rank) = (f32::NAN, logits.len() as u32);
            continue;
        }
        let label = target.leading() as usize;
        let own = logits[label];
        let ahead =
            |(class, logit): &(usize, &f64)| **logit > own || (**logit == own && *class < label);
        let expected = logits
            .iter()
            .enumerate()
            .map(|(class, logit)| target.probability(class, logits.len(), op.smoothing) * logit);
        *loss = (log_sum_exp(&logits) - expected.sum::<f64>()) as f32;
        *rank = logits.iter().enumerate().filter(ahead).count() as u32;
    }
}
