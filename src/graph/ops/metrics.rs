//! Metrics that accumulate on the device and are read back only occasionally.
//!
//! They include the first NaN or infinity of a run, its place and its age. A device notices it in
//! the step in which it occurs and changes no parameter from then on, however late the host reads
//! the metrics.

use crate::shape::Shape;

/// Words in the metrics tensor.
pub const METRIC_WORDS: usize = 8;

/// Contents of the metrics tensor: words 0 to 6, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Sum of the images' losses. NaN or infinite after a loss that was.
    pub loss: f32,
    /// Images whose label ranks first.
    pub top1: u32,
    /// Images whose label ranks among the first five.
    pub top5: u32,
    /// Number of images counted.
    pub images: u32,
    /// Number of batches counted since the first NaN or infinity: with the batch itself if it is
    /// in the loss, without it if it is in the update that followed. While this is not zero,
    /// [`super::Sgd`] changes nothing.
    pub halted: u32,
    /// One more than the position of the last gradient vector with a NaN or infinity, in the first
    /// update that had one; else 0. A vector has four elements; positions count through the
    /// operands of [`super::Sgd`] as they lie in an arena ([`crate::graph::lasting`]).
    pub gradient: u32,
    /// The same for finite gradients whose update overflows: a parameter or velocity would become
    /// infinite.
    pub update: u32,
}

impl Metrics {
    /// Shape of the metrics tensor.
    pub fn shape() -> Shape {
        Shape::indices(&[METRIC_WORDS])
    }

    /// Whether a loss, gradient or update was NaN or infinite.
    pub fn diverged(&self) -> bool {
        !self.loss.is_finite() || self.gradient != 0 || self.update != 0
    }

    /// Encodes the metrics tensor; word 7 is zero.
    pub fn to_words(self) -> [u32; METRIC_WORDS] {
        let Metrics {
            loss,
            top1,
            top5,
            images,
            halted,
            gradient,
            update,
        } = self;
        [
            loss.to_bits(),
            top1,
            top5,
            images,
            halted,
            gradient,
            update,
            0,
        ]
    }

    /// The inverse of [`Metrics::to_words`].
    ///
    /// # Panics
    /// If there are fewer than seven words.
    pub fn from_words(words: &[u32]) -> Metrics {
        Metrics {
            loss: f32::from_bits(words[0]),
            top1: words[1],
            top5: words[2],
            images: words[3],
            halted: words[4],
            gradient: words[5],
            update: words[6],
        }
    }
}
