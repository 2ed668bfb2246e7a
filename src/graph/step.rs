//! Hyper-parameters and random-number key of a training step, as a small `u32` tensor.
//!
//! `shaders/lib/step.wgsl` declares the same words.

use crate::shape::Shape;

/// Words in the step tensor.
pub const STEP_WORDS: usize = 8;

/// Hyper-parameters and random-number key of one training step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// Key of all random numbers.
    pub seed: u64,
    /// Epoch, counted from 1; part of the counter of the random numbers.
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
        Shape::indices(&[STEP_WORDS])
    }

    /// Encodes as low and high word of the seed, epoch, then the bits of the three floats.
    pub fn to_words(self) -> [u32; STEP_WORDS] {
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

    /// The inverse of [`Step::to_words`].
    ///
    /// # Panics
    /// If there are fewer than six words.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_the_whole_step() {
        let step = Step {
            seed: 0xfedc_ba98_7654_3210,
            epoch: 7,
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
        };
        let words = step.to_words();
        assert_eq!(words[..3], [0x7654_3210, 0xfedc_ba98, 7]);
        assert_eq!(Step::from_words(&words), step);
    }
}
