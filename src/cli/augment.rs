//! The flags of random changes of training images, for the commands that take them.

use clap::Args as ClapArgs;

use crate::train::Recipe;

/// Random changes besides flip and crop.
#[derive(ClapArgs)]
pub(super) struct AugmentArgs {
    /// Probability of erasing a rectangle of an image (random erasing) [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(super) erase: Option<f32>,
    /// Erase a square of N pixels a side from every image, clipped at its borders (cutout)
    #[arg(long, value_name = "N")]
    pub(super) cutout: Option<u32>,
    /// Average each image, and its label, with another one of its batch or micro-batch: shares of
    /// Beta(ALPHA, ALPHA), as in 0.2 (mixup). The training error is that of the label with the
    /// larger share
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(super) mixup: Option<f32>,
    /// Replace a rectangle of each image by that of another one, and mix the labels by area: shares
    /// of Beta(ALPHA, ALPHA), as in 1 (CutMix). With --mixup, each batch uses one of them at random
    #[arg(long, value_name = "ALPHA", allow_negative_numbers = true)]
    pub(super) cutmix: Option<f32>,
}

impl AugmentArgs {
    /// A recipe with these flags.
    pub(super) fn apply(&self, recipe: Recipe) -> Recipe {
        Recipe {
            erase: self.erase.unwrap_or(recipe.erase),
            cutout: self.cutout.or(recipe.cutout),
            mixup: self.mixup.or(recipe.mixup),
            cutmix: self.cutmix.or(recipe.cutmix),
            ..recipe
        }
    }
}
