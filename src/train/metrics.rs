//! Loss and correct answers, summed over images.

use crate::graph::ops::Metrics;

/// Sums over images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Sum of the losses.
    pub loss: f64,
    /// Images whose class has the highest score.
    pub top1: u64,
    /// Images whose class is among the five highest scores.
    pub top5: u64,
    /// Number of images.
    pub images: u64,
}

impl From<&Metrics> for Totals {
    fn from(metrics: &Metrics) -> Totals {
        Totals {
            loss: f64::from(metrics.loss),
            top1: metrics.top1.into(),
            top5: metrics.top5.into(),
            images: metrics.images.into(),
        }
    }
}

impl Totals {
    /// The difference from earlier totals of the same epoch.
    pub fn since(&self, before: &Totals) -> Totals {
        Totals {
            loss: self.loss - before.loss,
            top1: self.top1 - before.top1,
            top5: self.top5 - before.top5,
            images: self.images - before.images,
        }
    }

    /// Mean loss; NaN without images.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    /// Top-1 error in percent.
    pub fn top1_error(&self) -> f64 {
        100.0 * (1.0 - self.top1 as f64 / self.images as f64)
    }

    /// Top-5 error in percent; `None` with fewer than five classes.
    pub fn top5_error(&self, classes: usize) -> Option<f64> {
        let error = 100.0 * (1.0 - self.top5 as f64 / self.images as f64);
        (classes >= 5).then_some(error)
    }
}
