//! Shared by softmax cross-entropy and its gradient. Logits are few, so both run in double
//! precision on one thread.

use super::call::Call;
use crate::graph::ops::Target;

/// Rows of logits without pad channels, each with its target.
pub(super) fn rows<'a>(
    call: &Call<'a>,
    logits: usize,
    labels: usize,
) -> impl Iterator<Item = (Vec<f64>, Target)> + use<'a> {
    let (x, classes) = (call.plane(logits), call.shape(logits).last());
    let rows = x.numbers.chunks_exact(x.channels);
    let targets = Target::from_words(call.words(labels), x.rows());
    rows.zip(targets).map(move |(row, target)| {
        let logits = row[..classes].iter().map(|l| f64::from(*l)).collect();
        (logits, target)
    })
}

pub(super) fn log_sum_exp(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln()
}

pub(super) fn finite(logits: &[f64]) -> bool {
    logits.iter().all(|l| l.is_finite())
}
