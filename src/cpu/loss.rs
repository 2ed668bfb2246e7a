//! Softmax cross-entropy, its gradient, and the metrics: a few numbers, in double precision
//! on one thread.

use super::call::Call;
use crate::graph::ops::{IGNORED, LossScale, Metrics};

/// Rows of logits, as true classes only.
fn rows<'a>(call: &Call<'a>) -> impl Iterator<Item = (Vec<f64>, u32)> + use<'a> {
    let (x, classes) = (call.plane(0), call.shape(0).last());
    let rows = x.numbers.chunks_exact(x.channels);
    rows.zip(call.words(1)).map(move |(row, label)| {
        let logits = row[..classes].iter().map(|l| f64::from(*l)).collect();
        (logits, *label)
    })
}

fn log_sum_exp(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln()
}

fn finite(logits: &[f64]) -> bool {
    logits.iter().all(|l| l.is_finite())
}

pub(super) fn cross_entropy(mut call: Call<'_>) {
    let rows = rows(&call);
    let (losses, ranks) = (call.result(0), call.result_words(1));
    for ((logits, label), (loss, rank)) in rows.zip(losses.iter_mut().zip(ranks)) {
        if label == IGNORED {
            (*loss, *rank) = (0.0, IGNORED);
            continue;
        }
        if !finite(&logits) {
            (*loss, *rank) = (f32::NAN, logits.len() as u32);
            continue;
        }
        let own = logits[label as usize];
        let ahead = |(class, logit): &(usize, &f64)| {
            **logit > own || (**logit == own && *class < label as usize)
        };
        *loss = (log_sum_exp(&logits) - own) as f32;
        *rank = logits.iter().enumerate().filter(ahead).count() as u32;
    }
}

pub(super) fn cross_entropy_grad(mut call: Call<'_>) {
    let (rows, weights) = (rows(&call), call.numbers(2));
    let channels = call.result_extent(0).channels;
    let gradients = call.result(0);
    gradients.fill(0.0);
    let gradients = gradients.chunks_exact_mut(channels);
    for (((logits, label), weight), gradient) in rows.zip(weights).zip(gradients) {
        if label == IGNORED {
            continue;
        }
        if !finite(&logits) {
            gradient[..logits.len()].fill(f32::NAN);
            continue;
        }
        let total = log_sum_exp(&logits);
        for (class, (gradient, logit)) in gradient.iter_mut().zip(&logits).enumerate() {
            let target = f64::from(u8::from(class == label as usize));
            *gradient = (f64::from(*weight) * ((logit - total).exp() - target)) as f32;
        }
    }
}

pub(super) fn count_metrics(mut call: Call<'_>) {
    let (losses, ranks) = (call.numbers(0), call.words(1));
    let words = call.result_words(0);
    let mut metrics = Metrics::from_words(words);
    let mut loss = 0.0;
    for (value, rank) in losses.iter().zip(ranks) {
        if *rank == IGNORED {
            continue;
        }
        loss += f64::from(*value);
        metrics.top1 += u32::from(*rank < 1);
        metrics.top5 += u32::from(*rank < 5);
        metrics.images += 1;
        if !value.is_finite() {
            metrics.flags |= Metrics::BAD_LOSS;
        }
    }
    metrics.loss += loss as f32;
    words.copy_from_slice(&metrics.to_words());
}

/// Weights of losses, scaled.
pub(super) fn scale(mut call: Call<'_>) {
    let scale = LossScale::from_words(call.words(1)).scale;
    for (scaled, weight) in call.result(0).iter_mut().zip(call.numbers(0)) {
        *scaled = weight * scale;
    }
}

/// Whether a gradient is NaN or infinite.
pub(super) fn find_overflow(mut call: Call<'_>) {
    let gradients = call.operands() - 1;
    let mut all = (0..gradients).flat_map(|gradient| call.numbers(gradient));
    if all.any(|number| !number.is_finite()) {
        change(call.result_words(0), |scale| scale.overflow = 1);
    }
}

/// The loss scale after a step.
pub(super) fn adjust_scale(mut call: Call<'_>) {
    let mut hopeless = false;
    change(call.result_words(0), |scale| hopeless = scale.adjust());
    if hopeless {
        let words = call.result_words(1);
        let mut metrics = Metrics::from_words(words);
        metrics.flags |= Metrics::BAD_GRADIENT;
        words.copy_from_slice(&metrics.to_words());
    }
}

fn change(words: &mut [u32], change: impl FnOnce(&mut LossScale)) {
    let mut scale = LossScale::from_words(words);
    change(&mut scale);
    words.copy_from_slice(&scale.to_words());
}
