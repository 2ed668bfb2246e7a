//! `pyr-wgpu data`: what a dataset is made of, before a network is trained on it.

mod check;
mod get;
mod mean_std;
mod show;

use clap::{Args, Subcommand};

use super::error::CliError;
use crate::data::Resize;
use crate::model::Stem;

/// What to do with a dataset.
#[derive(Subcommand)]
pub(super) enum Action {
    /// Find unreadable, odd, duplicate and leaked images in a folder
    ///
    /// The exit code is 4 if training or evaluation would refuse the folder, otherwise 0.
    Check(check::Args),
    /// Download CIFAR-10 or CIFAR-100
    ///
    /// An interrupted download continues when the command is given again. The environment
    /// variables HTTPS_PROXY and HTTP_PROXY are obeyed.
    Get(get::Args),
    /// Measure mean and standard deviation of the training images of a folder
    MeanStd(mean_std::Args),
    /// Write training images as PNG, augmented as the network sees them
    Show(show::Args),
}

/// Runs an action.
///
/// # Errors
/// See [`CliError`].
pub(super) fn run(action: Action) -> Result<(), CliError> {
    match action {
        Action::Check(args) => check::run(args),
        Action::Get(args) => get::run(args),
        Action::MeanStd(args) => mean_std::run(args),
        Action::Show(args) => show::run(args),
    }
}

/// The flags that decide how images are resized.
#[derive(Args)]
struct ResizeArgs {
    /// Rows and columns of the network's images [default: 32 or 224]
    #[arg(long, value_name = "N")]
    image_size: Option<u32>,
    /// The network's first layers: cifar, for the whole shorter side of an image, or imagenet, for
    /// its centre [default: cifar]
    #[arg(long, value_name = "WORD")]
    stem: Option<Stem>,
}

impl ResizeArgs {
    fn stem(&self) -> Stem {
        self.stem.unwrap_or(Stem::Cifar)
    }

    /// How training would resize images.
    ///
    /// # Errors
    /// If no network takes images of the size.
    fn resize(&self) -> Result<Resize, CliError> {
        let stem = self.stem();
        let size = self.image_size.unwrap_or(stem.default_image_size());
        stem.check_image_size(size)?;
        Ok(stem.resize(size))
    }
}
