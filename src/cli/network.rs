//! The flags that say which network, the same on every subcommand.

use clap::Args;

use super::error::CliError;
use crate::model::{Block, Family, Growth, NetworkSpec, Rounding, Stem, preset, preset_names};

/// Which network.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    /// A network by name; flags after it override its parts
    #[arg(long, value_name = "NAME", help = preset_help())]
    pub(super) preset: Option<String>,
    /// Layers with weights: 6n+2 for basic and 9n+2 for bottleneck units on the cifar stem
    #[arg(long, value_name = "N")]
    pub(super) depth: Option<u32>,
    /// Channels added over all units (add), or their factor (mul)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(super) alpha: Option<f64>,
    /// How widths grow: add or mul [default: add]
    #[arg(long, value_name = "WORD")]
    pub(super) growth: Option<Growth>,
    /// Residual unit: basic or bottleneck [default: by depth]
    #[arg(long, value_name = "WORD")]
    pub(super) block: Option<Block>,
    /// What stands before the units: cifar or imagenet [default: cifar]
    #[arg(long, value_name = "WORD")]
    pub(super) stem: Option<Stem>,
    /// Classes [default: the dataset's, else 10 or 1000]
    #[arg(long, value_name = "N")]
    pub(super) classes: Option<u32>,
    /// Probability of dropping a feature before the classifier [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(super) dropout: Option<f32>,
    /// Rows and columns of the images [default: 32 or 224]
    #[arg(long, value_name = "N")]
    pub(super) image_size: Option<u32>,
    /// What becomes of a width that is not whole: half-up or half-even [default: half-up]
    #[arg(long, value_name = "WORD")]
    pub(super) rounding: Option<Rounding>,
}

fn preset_help() -> String {
    let names: Vec<&str> = preset_names().collect();
    format!(
        "A network by name; flags beside it override its parts: {}",
        names.join(", ")
    )
}

impl NetworkArgs {
    /// Whether any flag was given.
    pub(super) fn any(&self) -> bool {
        let NetworkArgs {
            preset,
            depth,
            alpha,
            growth,
            block,
            stem,
            classes,
            dropout,
            image_size,
            rounding,
        } = self;
        let words = growth.is_some() || block.is_some() || stem.is_some() || rounding.is_some();
        let numbers = depth.is_some() || alpha.is_some() || dropout.is_some();
        words || numbers || preset.is_some() || classes.is_some() || image_size.is_some()
    }

    /// Names of the flags whose value differs from a network's.
    pub(super) fn changes(&self, spec: &NetworkSpec) -> Vec<&'static str> {
        let mut changed = Vec::new();
        let mut compare = |differs: bool, flag: &'static str| {
            if differs {
                changed.push(flag);
            }
        };
        compare(self.depth.is_some_and(|v| v != spec.depth), "--depth");
        compare(self.alpha.is_some_and(|v| v != spec.alpha), "--alpha");
        compare(self.growth.is_some_and(|v| v != spec.growth), "--growth");
        compare(self.block.is_some_and(|v| v != spec.block), "--block");
        compare(self.stem.is_some_and(|v| v != spec.stem), "--stem");
        compare(self.classes.is_some_and(|v| v != spec.classes), "--classes");
        compare(self.dropout.is_some_and(|v| v != spec.dropout), "--dropout");
        compare(
            self.image_size.is_some_and(|v| v != spec.image_size),
            "--image-size",
        );
        compare(
            self.rounding.is_some_and(|v| v != spec.rounding),
            "--rounding",
        );
        changed
    }

    /// The network that the flags describe, `demo` without any; `classes` is the dataset's
    /// number.
    ///
    /// # Errors
    /// If they describe none.
    pub(super) fn resolve(&self, classes: Option<u32>) -> Result<NetworkSpec, CliError> {
        let named = match (&self.preset, self.depth, self.alpha) {
            (Some(name), _, _) => Some(preset(name)?),
            (None, None, None) => Some(preset("demo")?),
            _ => None,
        };
        let from_name = named.is_some();
        let mut spec = match (named, self.depth, self.alpha) {
            (Some(spec), _, _) => spec,
            (None, Some(depth), Some(alpha)) => {
                NetworkSpec::pyramid(self.stem.unwrap_or(Stem::Cifar), depth, alpha)
            }
            (None, depth, _) => {
                let missing = if depth.is_none() {
                    "--depth"
                } else {
                    "--alpha"
                };
                return Err(CliError::Usage(format!(
                    "the network needs {missing} as well, or a --preset"
                )));
            }
        };
        if let Some(stem) = self.stem.filter(|stem| *stem != spec.stem) {
            spec.stem = stem;
            spec.image_size = stem.default_image_size();
            spec.classes = stem.default_classes();
        }
        if from_name {
            spec.depth = self.depth.unwrap_or(spec.depth);
            spec.alpha = self.alpha.unwrap_or(spec.alpha);
            if self.depth.is_some() && spec.family == Family::PyramidNet {
                spec.block = Block::default_for(spec.stem, spec.depth);
            }
        }
        spec.growth = self.growth.unwrap_or(spec.growth);
        spec.block = self.block.unwrap_or(spec.block);
        spec.classes = self.classes.or(classes).unwrap_or(spec.classes);
        spec.dropout = self.dropout.unwrap_or(spec.dropout);
        spec.image_size = self.image_size.unwrap_or(spec.image_size);
        spec.rounding = self.rounding.unwrap_or(spec.rounding);
        spec.validate()?;
        Ok(spec)
    }
}
