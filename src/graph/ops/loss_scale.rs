//! Dynamic loss scaling, which keeps small gradients in half precision from underflowing.
//!
//! The loss is multiplied by a large power of two, and the update divides the parameters'
//! gradients by it; neither rounds.
//! A step whose gradients overflow is skipped and halves the scale. [`LossScale::GROWTH_INTERVAL`]
//! consecutive steps without overflow double it (Micikevicius et al., *Mixed Precision Training*,
//! ICLR 2018, section 3.2; factors, interval and initial scale of PyTorch's `GradScaler`).

use super::super::Tensor;
use crate::shape::Shape;

/// Words in the loss-scale tensor.
pub const LOSS_SCALE_WORDS: usize = 4;

/// The state of loss scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// Factor on the losses: a power of two.
    pub scale: f32,
    /// Consecutive steps without overflow; restarts at [`LossScale::GROWTH_INTERVAL`].
    pub good_steps: u32,
    /// 1 if a gradient of the current step is NaN or infinite, else 0.
    pub overflow: u32,
    /// Number of skipped steps.
    pub skipped: u32,
}

impl LossScale {
    /// Consecutive steps without overflow after which the scale doubles.
    pub const GROWTH_INTERVAL: u32 = 2000;

    /// The largest scale.
    pub const MAX: f32 = 16_777_216.0;

    /// The state before the first step: a scale of 2¹⁶.
    pub fn initial() -> LossScale {
        LossScale {
            scale: 65_536.0,
            good_steps: 0,
            overflow: 0,
            skipped: 0,
        }
    }

    /// The state for an unscaled loss: a scale of 1.
    pub fn unscaled() -> LossScale {
        LossScale {
            scale: 1.0,
            ..LossScale::initial()
        }
    }

    /// Shape of the loss-scale tensor.
    pub fn shape() -> Shape {
        Shape::indices(&[LOSS_SCALE_WORDS])
    }

    /// Encodes as the bits of the scale, then the counts in order of declaration.
    pub fn to_words(self) -> [u32; LOSS_SCALE_WORDS] {
        let bits = self.scale.to_bits();
        [bits, self.good_steps, self.overflow, self.skipped]
    }

    /// The inverse of [`LossScale::to_words`].
    ///
    /// # Panics
    /// If there are fewer than [`LOSS_SCALE_WORDS`] words.
    pub fn from_words(words: &[u32]) -> LossScale {
        LossScale {
            scale: f32::from_bits(words[0]),
            good_steps: words[1],
            overflow: words[2],
            skipped: words[3],
        }
    }

    /// Whether a step can begin in this state.
    pub fn is_valid(&self) -> bool {
        let is_power_of_two = self.scale.to_bits() << 9 == 0;
        (1.0..=LossScale::MAX).contains(&self.scale)
            && is_power_of_two
            && self.good_steps < LossScale::GROWTH_INTERVAL
            && self.overflow == 0
    }

    /// Whether an overflow of the current step is due to the scale. At the minimum scale of 1 it
    /// is the run that diverges.
    pub fn is_too_large(&self) -> bool {
        self.overflow != 0 && self.scale > 1.0
    }

    /// Updates the state after a step.
    pub fn adjust(&mut self) {
        if self.overflow == 0 {
            self.good_steps += 1;
            if self.good_steps == LossScale::GROWTH_INTERVAL {
                self.scale = (2.0 * self.scale).min(LossScale::MAX);
                self.good_steps = 0;
            }
            return;
        }
        self.overflow = 0;
        self.skipped += 1;
        self.good_steps = 0;
        self.scale = (0.5 * self.scale).max(1.0);
    }

    /// The loss-scale tensor.
    pub(super) fn tensor(self) -> Tensor {
        Tensor::index(LossScale::shape(), self.to_words().into())
    }
}
