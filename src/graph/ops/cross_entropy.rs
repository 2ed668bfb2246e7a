//! Softmax cross-entropy of each image, the rank of its label, and the gradient.
//!
//! ```text
//! loss = log Σ exp(logit − max) − (logit[label] − max)
//! rank = number of classes with a larger logit (or an equal one and a lower index)
//! dlogits = weight · (softmax − onehot(label))
//! ```

use super::super::{Data, Tensor};
use super::{Draw, require};
use crate::shape::{DType, Layout, Shape};

/// Label of a batch entry that is only padding, and its rank.
pub const IGNORED: u32 = u32::MAX;

pub(super) fn check(logits: &Shape, labels: &Shape) -> Result<(), String> {
    require(logits.layout == Layout::Channels, || {
        "needs logits [N, .., K]".to_owned()
    })?;
    require(
        labels.dtype == DType::U32 && labels.len() == logits.rows(),
        || "needs one label for each row of logits".to_owned(),
    )
}

/// log Σ exp(logit).
pub(super) fn log_sum_exp(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln()
}

/// Random logits and labels; in batches of more than two, one label is [`IGNORED`].
pub(super) fn numbers(draw: &mut Draw, batch: usize, classes: usize) -> [Tensor; 2] {
    let logits = draw.real(Shape::channels(&[batch, 1, 1, classes]));
    let mut labels = draw.below(Shape::indices(&[batch]), classes as u32);
    if let (Data::Index(labels), true) = (&mut labels.data, batch > 2) {
        labels[1] = IGNORED;
    }
    [logits, labels]
}

/// [`numbers`] for a batch of six, with logits that are not finite in three rows, and a row of
/// equal logits.
pub(super) fn unusual_numbers(draw: &mut Draw) -> [Tensor; 2] {
    let classes = 70;
    let [mut logits, labels] = numbers(draw, 6, classes);
    if let Data::Real(logits) = &mut logits.data {
        logits[classes - 1] = f64::NAN;
        logits[2 * classes] = f64::INFINITY;
        logits[3 * classes + classes / 2] = f64::NEG_INFINITY;
        logits[4 * classes..5 * classes].fill(0.5);
    }
    [logits, labels]
}

pub(super) fn cases() -> impl Iterator<Item = (usize, usize)> {
    [(1, 1), (3, 10), (70, 7), (2, 1000), (5, 100)].into_iter()
}
