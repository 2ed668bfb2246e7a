//! The flags that determine how a training step is computed, for `summary` and `bench`.

use clap::Args as ClapArgs;

use super::error::CliError;
use crate::graph::{ActivationCheckpointing, Passes, Precision};

/// The flags that `train` has under the same names.
#[derive(ClapArgs)]
pub(super) struct StepArgs {
    /// Recompute activations in the backward pass, as train --recompute
    #[arg(long)]
    recompute: bool,
    /// How feature maps are stored, as train --precision
    #[arg(long, value_name = "f32|f16", default_value_t)]
    precision: Precision,
}

impl StepArgs {
    /// Checks that no flag was given that has an effect in training only.
    ///
    /// # Errors
    /// The flag.
    pub(super) fn check_inference(&self) -> Result<(), CliError> {
        match self.recompute {
            true => Err(CliError::Usage(
                "--recompute changes the backward pass, and inference has none; leave it out"
                    .to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// The passes over the graph that the flags select.
    pub(super) fn passes(&self) -> Passes {
        Passes {
            checkpointing: match self.recompute {
                true => ActivationCheckpointing::Units,
                false => ActivationCheckpointing::default(),
            },
            precision: self.precision,
            ..Passes::default()
        }
    }
}
