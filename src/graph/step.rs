//! The numbers that change from step to step, as a small `u32` tensor every graph can read.
//!
//! Kernels see the same words: see `shaders/lib/step.wgsl`.

use crate::shape::Shape;

/// Words in the step tensor.
pub const WORDS: usize = 8;

/// Hyper-parameters and random-number keys of one training step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Key of all random numbers.
    pub seed: u64,
    /// Epoch, counted from 1: part of the random numbers' counter.
    pub epoch: u32,
    /// Learning rate.
    pub learning_rate: f32,
    /// Momentum of SGD.
    pub momentum: f32,
    /// Weight decay of SGD.
    pub weight_decay: f32,
}

impl Step {
    /// Shape of the step tensor.
    pub fn shape() -> Shape {
        Shape::indices(&[WORDS])
    }

    /// Encodes: seed low, seed high, epoch, then the bits of the three floats.
    pub fn to_words(self) -> [u32; WORDS] {
        [
            self.seed as u32,
            (self.seed >> 32) as u32,
            self.epoch,
            self.learning_rate.to_bits(),
            self.momentum.to_bits(),
            self.weight_decay.to_bits(),
            0,
            0,
        ]
    }

    /// Decodes what [`Step::to_words`] encoded.
    ///
    /// # Panics
    /// If there are fewer than [`WORDS`] words.
    pub fn from_words(words: &[u32]) -> Step {
        Step {
            seed: u64::from(words[0]) | u64::from(words[1]) << 32,
            epoch: words[2],
            learning_rate: f32::from_bits(words[3]),
            momentum: f32::from_bits(words[4]),
            weight_decay: f32::from_bits(words[5]),
        }
    }
}
