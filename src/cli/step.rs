//! Flags that say how a training step is computed, for those that look at one.

use clap::Args as ClapArgs;

use crate::graph::{ActivationCheckpointing, Passes, Precision};

/// As the flags of `train`.
#[derive(ClapArgs)]
pub(super) struct StepArgs {
    /// As `train --recompute`
    #[arg(long)]
    recompute: bool,
    /// As `train --precision`
    #[arg(long, value_name = "f32|f16", default_value_t)]
    precision: Precision,
}

impl StepArgs {
    /// What is done to the graph.
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
