//! The flags that determine how a training step is computed, for `summary` and `bench`.

use clap::Args as ClapArgs;

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
