//! The flags of random changes of training images, for the commands that take them.

use clap::Args as ClapArgs;

use crate::train::{AutoAugment, Recipe};

/// Random changes besides flip and crop.
#[derive(ClapArgs)]
pub(super) struct AugmentArgs {
    /// Transform each image before flip and crop by a policy: trivial (TrivialAugment), rand
    /// (RandAugment), cifar10 (AutoAugment for CIFAR-10) or none; not with --augmentation imagenet,
    /// and up to 2048 pixels a side [default: none]
    #[arg(long, value_name = "POLICY")]
    pub(super) auto_augment: Option<AutoAugment>,
    /// Probability of erasing a rectangle of an image (random erasing) [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(super) erase: Option<f32>,
    /// Erase a square of N pixels a side from every image, clipped at its borders (cutout) [default:
    /// 0, none]
    #[arg(long, value_name = "N")]
    pub(super) cutout: Option<u32>,
    /// Average each image, and its label, with another one of its batch, or of its device's micro-batch
    /// or share of the batch: weights of
    /// Beta(ALPHA, ALPHA), as in 0.2 (mixup). The training error is that of the label with the
    /// larger weight [default: 0, none]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(super) mixup: Option<f32>,
    /// Replace a rectangle of each image by that of another one, and mix the labels by area: shares
    /// of Beta(ALPHA, ALPHA), as in 1 (CutMix). With --mixup, each batch uses one of them at random
    /// [default: 0, none]
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(super) cutmix: Option<f32>,
}

impl AugmentArgs {
    /// A recipe with these flags.
    pub(super) fn apply(&self, recipe: Recipe) -> Recipe {
        let mut recipe = Recipe {
            auto_augment: self.auto_augment.unwrap_or(recipe.auto_augment),
            erase: self.erase.unwrap_or(recipe.erase),
            cutout: self.cutout.or(recipe.cutout),
            mixup: self.mixup.or(recipe.mixup),
            cutmix: self.cutmix.or(recipe.cutmix),
            ..recipe
        };
        recipe.drop_zeros();
        recipe
    }
}
