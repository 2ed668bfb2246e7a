//! The training recipe: hyper-parameters of the optimiser and the schedule.
//!
//! The defaults for CIFAR are those of the authors' Torch code (`fb.resnet.torch` with the
//! changes of PyramidNet's README).

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::data::DatasetKind;

fn linear() -> f32 {
    1.0
}

fn is_linear(power: &f32) -> bool {
    *power == linear()
}

fn is_zero(epochs: &u32) -> bool {
    *epochs == 0
}

/// Hyper-parameters of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Passes over the training set.
    pub epochs: u32,
    /// Images per optimiser step.
    pub batch_size: usize,
    /// Learning rate at the start, after the warm-up.
    pub learning_rate: f32,
    /// How it changes.
    #[serde(default, skip_serializing_if = "Schedule::is_step")]
    pub schedule: Schedule,
    /// Exponent of the polynomial schedule.
    #[serde(default = "linear", skip_serializing_if = "is_linear")]
    pub power: f32,
    /// Epochs of the warm-up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warmup: u32,
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
            schedule: Schedule::Step,
            power: linear(),
            warmup: 0,
            momentum: 0.9,
            weight_decay: 1e-4,
            milestones: defaults.milestones,
            augment: true,
        }
    }

    /// Learning rate of a step, counted from 0 in its epoch, which is counted from 1.
    pub fn learning_rate(&self, epoch: u32, step: u32, steps_per_epoch: u32) -> f32 {
        let initial = f64::from(self.learning_rate);
        let steps = f64::from(steps_per_epoch.max(1));
        let at = f64::from(epoch - 1) * steps + f64::from(step);
        let warmup = f64::from(self.warmup) * steps;
        if at < warmup {
            return (initial * (at + 1.0) / warmup) as f32;
        }
        let progress = (at - warmup) / (f64::from(self.epochs) * steps - warmup);
        let factor = match self.schedule {
            Schedule::Step => {
                let reached = self.milestones.iter().filter(|m| epoch >= **m).count();
                0.1f64.powi(reached as i32)
            }
            Schedule::Cosine => (1.0 + libm::cos(std::f64::consts::PI * progress)) / 2.0,
            Schedule::Polynomial => libm::pow(1.0 - progress, self.power.into()),
        };
        (initial * factor) as f32
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
        self.schedule.is_step() && !self.milestones.iter().any(|m| *m <= self.epochs)
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
            let difference = (recipe.learning_rate(epoch, 3, 391) - rate).abs();
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

    /// Recorded from torch.optim.lr_scheduler, 12 steps from 0.1: CosineAnnealingLR, PolynomialLR with
    /// power 2, and LinearLR over four steps before a CosineAnnealingLR over eight.
    #[test]
    fn rates_of_steps_are_those_of_pytorch() {
        let check = |schedule, power, warmup, expected: [f64; 12]| {
            let recipe = Recipe {
                epochs: 3,
                schedule,
                power,
                warmup,
                ..Recipe::for_dataset(DatasetKind::Cifar10)
            };
            for (at, expected) in (0..).zip(expected) {
                let rate = f64::from(recipe.learning_rate(1 + at / 4, at % 4, 4));
                // Nine digits were recorded, and the rate is rounded to single precision.
                assert!((rate - expected).abs() < 1e-8, "{schedule} {at}: {rate}");
            }
        };
        let cosine = [
            0.1,
            0.098296291,
            0.093301270,
            0.085355339,
            0.075,
            0.062940952,
            0.05,
            0.037059048,
            0.025,
            0.014644661,
            0.006698730,
            0.001703709,
        ];
        check(Schedule::Cosine, 1.0, 0, cosine);
        let square = [
            0.1,
            0.084027778,
            0.069444444,
            0.05625,
            0.044444444,
            0.034027778,
            0.025,
            0.017361111,
            0.011111111,
            0.00625,
            0.002777778,
            0.000694444,
        ];
        check(Schedule::Polynomial, 2.0, 0, square);
        let warm = [
            0.025,
            0.05,
            0.075,
            0.1,
            0.1,
            0.096193977,
            0.085355339,
            0.069134172,
            0.05,
            0.030865828,
            0.014644661,
            0.003806023,
        ];
        check(Schedule::Cosine, 1.0, 1, warm);
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
            ("imagenet", 120, 0.05),
            ("folder", 300, 0.1),
        ];
        assert!(rates.eq(expected));
    }
}
