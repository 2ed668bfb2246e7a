//! The training recipe: hyper-parameters of the optimiser and the schedule.
//!
//! The defaults for CIFAR are those of the authors' Torch code (`fb.resnet.torch` with the
//! changes of PyramidNet's README).

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::{AutoAugment, Schedule};
use crate::data::{Augmentation, DatasetKind};
use crate::graph::ops::TRANSFORM_SIZE;
use crate::model::BatchAugmentation;

fn linear() -> f32 {
    1.0
}

fn is_linear(power: &f32) -> bool {
    *power == linear()
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// The largest L2 norm of all gradients together; a larger one is scaled down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_grad_norm: Option<f32>,
    /// Decay of the exponential moving averages of the weights, which are evaluated and saved in
    /// their place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ema: Option<f32>,
    /// Epochs without a lower test error after which the run ends early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<u32>,
    /// How images are transformed before flip and crop.
    #[serde(default, skip_serializing_if = "AutoAugment::is_none")]
    pub auto_augment: AutoAugment,
    /// Probability of erasing a rectangle of an image at random (Zhong et al., AAAI 2020), with the
    /// areas and aspects of torchvision's `RandomErasing`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erase: f32,
    /// Side in pixels of the square of cutout (DeVries and Taylor 2017).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutout: Option<u32>,
    /// α of mixup (Zhang et al., ICLR 2018): the shares of two images are λ and 1 − λ, with
    /// λ ~ Beta(α, α).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mixup: Option<f32>,
    /// α of CutMix (Yun et al., ICCV 2019): a rectangle of 1 − λ of the image is that of another
    /// one, with λ ~ Beta(α, α).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cutmix: Option<f32>,
    /// Share of the target that is spread evenly over all classes (Szegedy et al., CVPR 2016), in
    /// the loss of training only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub label_smoothing: f32,
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
            clip_grad_norm: None,
            ema: None,
            patience: None,
            auto_augment: AutoAugment::None,
            erase: 0.0,
            cutout: None,
            mixup: None,
            cutmix: None,
            label_smoothing: 0.0,
        }
    }

    /// Takes options that 0 switches off as not given.
    pub fn drop_zeros(&mut self) {
        for option in [
            &mut self.clip_grad_norm,
            &mut self.ema,
            &mut self.mixup,
            &mut self.cutmix,
        ] {
            option.take_if(|value| *value == 0.0);
        }
        for option in [&mut self.patience, &mut self.cutout] {
            option.take_if(|value| *value == 0);
        }
    }

    /// Whether a run ends after this number of epochs, of which `best` had the lowest test error.
    pub fn is_over(&self, epochs: u32, best: Option<u32>) -> bool {
        epochs >= self.epochs || self.stale_epochs(epochs, best).is_some()
    }

    /// The patience, if a run ends early for it after this number of epochs.
    pub fn stale_epochs(&self, epochs: u32, best: Option<u32>) -> Option<u32> {
        let stale = epochs.saturating_sub(best?);
        let patience = self.patience.filter(|patience| stale >= *patience);
        patience.filter(|_| epochs < self.epochs)
    }

    /// What the recipe does to the images of a batch.
    pub fn augmentation(&self) -> BatchAugmentation {
        BatchAugmentation {
            transforms: self.auto_augment.transforms(),
            flip_and_crop: self.augment,
            rectangles: usize::from(self.erase > 0.0) + usize::from(self.cutout.is_some()),
            mix: self.mixup.is_some() || self.cutmix.is_some(),
        }
    }

    /// Checks what [`Recipe::augmentation`] and the loss depend on, for images of `size` x `size`
    /// that `place` augments and that are mixed within batches of `batch`.
    ///
    /// # Errors
    /// What is wrong, and the flag that sets it.
    pub fn check_augmentation(
        &self,
        size: u32,
        batch: usize,
        place: Augmentation,
    ) -> Result<(), String> {
        let rule = |holds: bool, text: &str| match holds {
            true => Ok(()),
            false => Err(text.to_owned()),
        };
        let largest = TRANSFORM_SIZE as u32;
        rule(
            self.auto_augment.is_none() || size <= largest,
            &format!("--auto-augment takes images of up to {largest} pixels a side, not {size}"),
        )?;
        rule(
            self.auto_augment.is_none() || place.is_crop() || !self.augment,
            "--auto-augment and --augmentation imagenet, the default of the ImageNet stem for image \
             files, exclude each other; leave out the first, or give --augmentation crop",
        )?;
        let is_alpha = |alpha: Option<f32>| alpha.is_none_or(|a| a > 0.0 && a.is_finite());
        rule(
            (0.0..1.0).contains(&self.label_smoothing),
            "--label-smoothing must be at least 0 and below 1, such as 0.1",
        )?;
        rule(
            (0.0..=1.0).contains(&self.erase),
            "--erase is a probability from 0 to 1, such as 0.25",
        )?;
        // A larger square covers the image wherever its centre is.
        let largest = 2 * u64::from(size) - 2;
        rule(
            self.cutout
                .is_none_or(|side| (1..=largest).contains(&side.into())),
            &format!(
                "--cutout is the side of a square in pixels, from 1 to {largest} for images of \
                 {size}x{size}, such as {}",
                size.div_ceil(2)
            ),
        )?;
        rule(
            is_alpha(self.mixup),
            "--mixup must be a positive number, such as 0.2, or 0 for none",
        )?;
        rule(
            is_alpha(self.cutmix),
            "--cutmix must be a positive number, such as 1, or 0 for none",
        )?;
        rule(
            batch > 1 || !self.augmentation().mix,
            "--mixup and --cutmix mix the images of a batch, or of a micro-batch; give \
             --batch-size, or --micro-batch, at least 2, such as 32",
        )
    }

    /// What changes images and the loss besides flips and crops, as words; nothing by default.
    pub fn augmentation_options(&self) -> Vec<String> {
        let share = |value: f32| Some(value).filter(|value| *value > 0.0);
        let options = [
            option(
                "transforms of",
                Some(self.auto_augment.title()).filter(|_| !self.auto_augment.is_none()),
            ),
            option("random erasing", share(self.erase)),
            option("cutout", self.cutout),
            option("mixup", self.mixup),
            option("CutMix", self.cutmix),
            option("label smoothing", share(self.label_smoothing)),
        ];
        options.into_iter().flatten().collect()
    }

    /// What an update does besides stochastic gradient descent, and when the run ends early, as
    /// words; nothing by default.
    pub fn update_options(&self) -> Vec<String> {
        let options = [
            option("gradients clipped to norm", self.clip_grad_norm),
            option("averages of the weights with decay", self.ema),
            option("patience", self.patience),
        ];
        options.into_iter().flatten().collect()
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

/// A name and its value, if there is one.
fn option(name: &str, value: Option<impl Display>) -> Option<String> {
    value.map(|value| format!("{name} {value}"))
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

    #[test]
    fn a_rate_without_milestones_within_the_run_never_drops() {
        let never_drops = |schedule, milestones: &[u32]| {
            let recipe = Recipe {
                schedule,
                milestones: milestones.to_vec(),
                epochs: 10,
                ..Recipe::for_dataset(DatasetKind::Shapes)
            };
            recipe.never_drops()
        };
        assert!(never_drops(Schedule::Step, &[]) && never_drops(Schedule::Step, &[11, 20]));
        assert!(!never_drops(Schedule::Step, &[10]) && !never_drops(Schedule::Step, &[5, 11]));
        assert!(!never_drops(Schedule::Cosine, &[]));
    }
}
