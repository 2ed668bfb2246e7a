//! Softmax cross-entropy of each image, the rank of its label, and the gradient.
//!
//! ```text
//! target = (1 − smoothing) · (share · onehot(label) + (1 − share) · onehot(other)) + smoothing / K
//! loss = log Σ exp(logit − max) − Σ target · (logit − max)
//! rank = number of classes with a larger logit (or an equal one and a lower index)
//! dlogits = weight · (softmax − target)
//! ```
//!
//! Label smoothing is that of Szegedy et al. (CVPR 2016, "Rethinking the Inception Architecture for
//! Computer Vision") and of PyTorch's `CrossEntropyLoss(label_smoothing)`; two labels with their
//! shares are those of mixup and CutMix. Of two labels, the rank is that of the one with the larger
//! share.

use super::super::{Data, Tensor};
use super::{Draw, require};
use crate::shape::{DType, Layout, Shape};

/// Label of a batch entry that is only padding, and its rank.
pub const IGNORED: u32 = u32::MAX;

/// What the prediction for an image is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Class of the image, or [`IGNORED`].
    pub label: u32,
    /// Class of the image that it is mixed with; the same without mixing.
    pub other: u32,
    /// Share of `label`, in [0, 1].
    pub share: f32,
}

impl Target {
    /// A single label.
    pub fn of(label: u32) -> Target {
        Target {
            label,
            other: label,
            share: 1.0,
        }
    }

    /// The operand `labels`, u32 [3, N], of these targets: the labels, the others, and the bits of
    /// the shares.
    pub fn to_words(targets: &[Target]) -> Vec<u32> {
        let labels = targets.iter().map(|target| target.label);
        let others = targets.iter().map(|target| target.other);
        let shares = targets.iter().map(|target| target.share.to_bits());
        labels.chain(others).chain(shares).collect()
    }

    /// The targets of so many images, from the operand `labels`, u32 `[N]` or [3, N].
    pub fn from_words(labels: &[u32], images: usize) -> Vec<Target> {
        match labels.len() == images {
            true => labels.iter().copied().map(Target::of).collect(),
            false => (0..images)
                .map(|row| Target {
                    label: labels[row],
                    other: labels[images + row],
                    share: f32::from_bits(labels[2 * images + row]),
                })
                .collect(),
        }
    }

    /// The label with the larger share; of equal shares, the image's own.
    pub fn leading(self) -> u32 {
        match self.share >= 0.5 {
            true => self.label,
            false => self.other,
        }
    }

    /// Probability of a class in the target.
    pub fn probability(self, class: usize, classes: usize, smoothing: f32) -> f64 {
        let is = |label: u32| f64::from(u8::from(class == label as usize));
        let [share, smoothing] = [self.share, smoothing].map(f64::from);
        let labels = share * is(self.label) + (1.0 - share) * is(self.other);
        (1.0 - smoothing) * labels + smoothing / classes as f64
    }
}

pub(super) fn check(logits: &Shape, labels: &Shape, smoothing: f32) -> Result<(), String> {
    require(logits.layout == Layout::Channels, || {
        "needs logits [N, .., K]".to_owned()
    })?;
    let rows = logits.rows();
    require(
        labels.dtype == DType::U32 && (labels.len() == rows || labels.dims == [3, rows]),
        || "needs one label for each row of logits, or two and a share".to_owned(),
    )?;
    require((0.0..1.0).contains(&smoothing), || {
        format!("smoothing {smoothing} is not in [0, 1)")
    })
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

/// [`numbers`], each label with another one and its share: a smaller, a larger, all and half.
fn mixed_numbers(draw: &mut Draw, batch: usize, classes: usize) -> [Tensor; 2] {
    let [logits, labels] = numbers(draw, batch, classes);
    let others = draw.below(Shape::indices(&[batch]), classes as u32);
    let rows = labels.indices().iter().zip(others.indices());
    let shares = [0.3, 0.8, 1.0, 0.5].into_iter().cycle();
    let targets = rows.zip(shares).map(|((label, other), share)| Target {
        label: *label,
        other: *other,
        share,
    });
    let words = Target::to_words(&targets.collect::<Vec<_>>());
    [logits, Tensor::index(Shape::indices(&[3, batch]), words)]
}

/// Smoothing, logits and labels of all samples.
pub(super) fn samples(draw: &mut Draw) -> Vec<(f32, [Tensor; 2])> {
    let cases = [(1, 1), (3, 10), (70, 7), (2, 1000), (5, 100)];
    let usual = cases.map(|(batch, classes)| (0.0, numbers(draw, batch, classes)));
    let mut all = Vec::from(usual);
    all.push((0.0, unusual_numbers(draw)));
    all.push((0.1, unusual_numbers(draw)));
    all.push((0.3, numbers(draw, 3, 10)));
    all.push((0.0, mixed_numbers(draw, 70, 7)));
    all.push((0.2, mixed_numbers(draw, 9, 30)));
    all
}
