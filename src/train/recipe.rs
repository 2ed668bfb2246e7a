//! The training recipe: what the optimiser and the schedule need.
//!
//! The defaults for CIFAR are those of the authors' Torch code (`fb.resnet.torch` with the
//! changes of PyramidNet's README).

use serde::{Deserialize, Serialize};

use crate::data::DatasetKind;

/// Hyper-parameters of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Passes over the training set.
    pub epochs: u32,
    /// Images of one optimiser step.
    pub batch_size: usize,
    /// Learning rate before the first milestone.
    pub learning_rate: f32,
    /// Momentum of Nesterov's kind.
    pub momentum: f32,
    /// Decay of every parameter, batch norm and bias included.
    pub weight_decay: f32,
    /// Epochs (from 1) at whose start the learning rate is divided by ten.
    pub milestones: Vec<u32>,
    /// Random flip and crop.
    pub augment: bool,
}

impl Recipe {
    /// The default recipe of a dataset; its manifest has what differs from others.
    pub fn for_dataset(kind: DatasetKind) -> Recipe {
        let defaults = kind.manifest().recipe;
        Recipe {
            epochs: defaults.epochs,
            batch_size: defaults.batch_size,
            learning_rate: defaults.learning_rate,
            momentum: 0.9,
            weight_decay: 1e-4,
            milestones: defaults.milestones,
            augment: true,
        }
    }

    /// Learning rate of an epoch (from 1): a tenth for every milestone that has begun.
    pub fn learning_rate(&self, epoch: u32) -> f32 {
        let begun = self.milestones.iter().filter(|m| epoch >= **m).count();
        let rate = f64::from(self.learning_rate) * 0.1f64.powi(begun as i32);
        rate as f32
    }

    /// Milestones that would suit the number of epochs: one half and three quarters, as 150
    /// and 225 are of 300.
    pub fn proposed_milestones(&self) -> Vec<u32> {
        let at = |numerator: u32| (self.epochs * numerator).div_ceil(4).max(1);
        vec![at(2), at(3)]
    }

    /// Whether no milestone lies within the run, so that the rate never drops.
    pub fn never_drops(&self) -> bool {
        !self.milestones.iter().any(|m| *m <= self.epochs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Epochs 1..149 at lr, 150..224 at lr/10, 225..300 at lr/100.
    #[test]
    fn the_rate_drops_at_the_start_of_a_milestone() {
        let recipe = Recipe::for_dataset(DatasetKind::Cifar10);
        for (epoch, rate) in [(1, 0.1), (149, 0.1), (150, 0.01), (224, 0.01), (225, 0.001)] {
            let difference = (recipe.learning_rate(epoch) - rate).abs();
            assert!(difference <= rate * f32::EPSILON, "epoch {epoch}");
        }
        assert_eq!(recipe.proposed_milestones(), [150, 225]);
    }

    /// The rates that runs had before the manifests held them, bit for bit.
    #[test]
    fn manifests_hold_the_recipes() {
        let rates = DatasetKind::ALL.iter().map(|kind| {
            let recipe = Recipe::for_dataset(*kind);
            (kind.name(), recipe.epochs, recipe.learning_rate)
        });
        let expected = [
            ("shapes", 5, 0.05),
            ("cifar10", 300, 0.1),
            ("cifar100", 300, 0.5),
            ("folder", 300, 0.1),
        ];
        assert!(rates.eq(expected));
    }
}
