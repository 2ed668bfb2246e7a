//! Loss scaling: gradients in half precision keep their small values.
//!
//! The loss is multiplied by a large power of two, the gradients of the parameters are divided
//! by it again in the update; neither rounds.
//! The scale finds itself: a step whose gradients overflow is left out and halves it, many
//! good steps in a row double it (Micikevicius et al., *Mixed Precision Training*, ICLR 2018,
//! section 3.2; the constants are those of PyTorch's `GradScaler`).

use super::super::Tensor;
use crate::shape::Shape;

/// Words of the loss scale.
pub const LOSS_SCALE_WORDS: usize = 4;

/// The state of loss scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    /// What losses are multiplied by: a power of two.
    pub scale: f32,
    /// Steps since the scale was changed.
    pub good_steps: u32,
    /// 1 if a gradient of the present step is NaN or infinite.
    pub overflow: u32,
    /// Steps that were left out.
    pub skipped: u32,
}

impl LossScale {
    /// Good steps after which the scale is doubled.
    pub const GROWTH_INTERVAL: u32 = 2000;

    /// The largest scale.
    pub const MAX: f32 = 16_777_216.0;

    /// Before the first step.
    pub fn start() -> LossScale {
        LossScale {
            scale: 65_536.0,
            good_steps: 0,
            overflow: 0,
            skipped: 0,
        }
    }

    /// Of a loss that is not scaled.
    pub fn none() -> LossScale {
        LossScale {
            scale: 1.0,
            ..LossScale::start()
        }
    }

    /// Shape of the state.
    pub fn shape() -> Shape {
        Shape::indices(&[LOSS_SCALE_WORDS])
    }

    /// As memory holds it: the bits of the scale, then the counts.
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

    /// After a step. Says whether gradients overflow even without scaling.
    pub fn adjust(&mut self) -> bool {
        if self.overflow == 0 {
            self.good_steps += 1;
            if self.good_steps == LossScale::GROWTH_INTERVAL {
                self.scale = (2.0 * self.scale).min(LossScale::MAX);
                self.good_steps = 0;
            }
            return false;
        }
        self.overflow = 0;
        self.skipped += 1;
        self.good_steps = 0;
        let hopeless = self.scale <= 1.0;
        self.scale = (0.5 * self.scale).max(1.0);
        hopeless
    }

    /// As an operand.
    pub(super) fn tensor(self) -> Tensor {
        Tensor::index(LossScale::shape(), self.to_words().into())
    }
}
