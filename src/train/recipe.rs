//! The training recipe: hyper-parameters of the optimiser and the schedule.
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
    /// Images per optimiser step.
    pub batch_size: usize,
    /// Learning rate before the first milestone.
    pub learning_rate: f32,
    /// Nesterov momentum.
    pub momentum: f32,
    /// L2 penalty on every parameter, including batch norm and biases.
    pub weight_decay: f32,
    /// Epochs (from 1) at whose start the learning rate is divided by ten.
    pub milestones: Vec<u32>,
    /// Random flip and crop.
    pub augment: bool,
}

impl Recipe {
    /// The default recipe of a dataset; its manifest holds the values specific to it.
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

    /// Learning rate of an epoch (from 1): divided by ten at every milestone reached.
    pub fn learning_rate(&self, epoch: u32) -> f32 {
        let reached = self.milestones.iter().filter(|m| epoch >= **m).count();
        let rate = f64::from(self.learning_rate) * 0.1f64.powi(reached as i32);
        rate as f32
    }

    /// Milestones for the number of epochs: at one half and at three quarters, as 150 and 225 of
    /// 300, but after the first epoch.
    pub fn proposed_milestones(&self) -> Vec<u32> {
        let epochs = u64::from(self.epochs);
        let at = |numerator: u64| (epochs * numerator).div_ceil(4).max(2) as u32;
        let mut milestones = vec![at(2), at(3)];
        milestones.dedup();
        milestones
    }

    /// Whether the learning rate never drops, because no milestone lies within the run.
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
        let short = |epochs| {
            Recipe {
                epochs,
                ..recipe.clone()
            }
            .proposed_milestones()
        };
        assert_eq!(
            [short(2), short(3), short(4)],
            [vec![2], vec![2, 3], vec![2, 3]]
        );
        assert_eq!(short(3_000_000_000), [1_500_000_000, 2_250_000_000]);
        assert_eq!(short(u32::MAX), [1 << 31, 3 << 30]);
    }

    /// The manifests hold exactly the rates of earlier versions.
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
