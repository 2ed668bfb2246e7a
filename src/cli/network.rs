//! The flags that describe the network, the same on every subcommand.

use clap::Args;

use super::error::CliError;
use crate::model::{Block, Family, Growth, NetworkSpec, Rounding, Stem, preset, preset_names};

/// The network's flags.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Network")]
pub(super) struct NetworkArgs {
    #[arg(long, value_name = "NAME", help = preset_help())]
    pub(super) preset: Option<String>,
    /// Layers with weights: 6n+2 for basic and 9n+2 for bottleneck units on the cifar stem
    #[arg(long, value_name = "N")]
    pub(super) depth: Option<u32>,
    /// Channels added over all units (add), or the factor over all units (mul)
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(super) alpha: Option<f64>,
    /// How widths grow: add or mul [default: add]
    #[arg(long, value_name = "WORD")]
    pub(super) growth: Option<Growth>,
    /// Residual unit: basic or bottleneck [default: by depth]
    #[arg(long, value_name = "WORD")]
    pub(super) block: Option<Block>,
    /// Layers before the units: cifar or imagenet [default: cifar]
    #[arg(long, value_name = "WORD")]
    pub(super) stem: Option<Stem>,
    /// Classes [default: the dataset's, else 10 or 1000]
    #[arg(long, value_name = "N")]
    pub(super) classes: Option<u32>,
    /// Probability of dropping a feature before the classifier [default: 0]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(super) dropout: Option<f32>,
    /// ShakeDrop: probability in the last unit that its branch is left as it is, falling linearly
    /// from unit to unit; the paper uses 0.5 [default: 1, none]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(super) shakedrop: Option<f32>,
    /// Stochastic depth: probability in the last unit that its branch is not dropped, falling
    /// linearly from unit to unit; the paper uses 0.5 [default: 1, none]
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    pub(super) stochastic_depth: Option<f32>,
    /// Rows and columns of the images [default: 32 or 224]
    #[arg(long, value_name = "N")]
    pub(super) image_size: Option<u32>,
    /// How fractional widths are rounded: half-up or half-even [default: half-up]
    #[arg(long, value_name = "WORD")]
    pub(super) rounding: Option<Rounding>,
}

fn preset_help() -> String {
    let names: Vec<&str> = preset_names().collect();
    format!(
        "A network by name, whose parts other flags override: {}",
        names.join(", ")
    )
}

/// A flag for one field of a [`NetworkSpec`].
struct NetworkFlag {
    name: &'static str,
    is_given: fn(&NetworkArgs) -> bool,
    /// Sets the field, if the flag was given.
    apply: fn(&NetworkArgs, &mut NetworkSpec),
}

/// The row of a flag whose argument and field have the same name.
macro_rules! flag {
    ($name:literal, $field:ident) => {
        NetworkFlag {
            name: $name,
            is_given: |flags| flags.$field.is_some(),
            apply: |flags, spec| spec.$field = flags.$field.unwrap_or(spec.$field),
        }
    };
}

const FLAGS: [NetworkFlag; 11] = [
    flag!("--depth", depth),
    flag!("--alpha", alpha),
    flag!("--growth", growth),
    flag!("--block", block),
    flag!("--stem", stem),
    flag!("--classes", classes),
    flag!("--dropout", dropout),
    flag!("--shakedrop", shakedrop),
    flag!("--stochastic-depth", stochastic_depth),
    flag!("--image-size", image_size),
    flag!("--rounding", rounding),
];

impl NetworkArgs {
    /// Whether any flag was given.
    pub(super) fn any(&self) -> bool {
        self.preset.is_some() || FLAGS.iter().any(|flag| (flag.is_given)(self))
    }

    /// Checks that no flag was given that changes the network in training only; `own` is the network
    /// of the checkpoint, if it is known.
    ///
    /// # Errors
    /// The flag.
    pub(super) fn check_inference(&self, own: Option<&NetworkSpec>) -> Result<(), CliError> {
        let given = [
            ("--dropout", self.dropout, own.map(|own| own.dropout)),
            (
                "--stochastic-depth",
                self.stochastic_depth,
                own.map(|own| own.stochastic_depth),
            ),
        ];
        match given
            .iter()
            .find(|(_, given, own)| given.is_some() && given != own)
        {
            Some((name, given, _)) => Err(CliError::Usage(format!(
                "{name} {} has an effect in training only; leave it out",
                given.unwrap_or_default()
            ))),
            None => Ok(()),
        }
    }

    /// Names of the flags whose value differs from a network's.
    pub(super) fn changes(&self, spec: &NetworkSpec) -> impl Iterator<Item = &'static str> {
        let differs = |flag: &&NetworkFlag| {
            let mut wanted = spec.clone();
            (flag.apply)(self, &mut wanted);
            wanted != *spec
        };
        FLAGS.iter().filter(differs).map(|flag| flag.name)
    }

    /// The network that the flags describe, `demo` without any; `classes` is the number of
    /// classes of the dataset.
    ///
    /// # Errors
    /// If they describe no legal network.
    pub(super) fn resolve(&self, classes: Option<u32>) -> Result<NetworkSpec, CliError> {
        let spec = match (&self.preset, self.depth, self.alpha) {
            (Some(name), _, _) => preset(name)?,
            (None, None, None) => preset("demo")?,
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
        self.override_fields(spec, classes)
    }

    /// Whether the flags are meant to describe a whole network, not only to override fields of
    /// another.
    pub(super) fn describe_all(&self) -> bool {
        self.preset.is_some() || self.depth.is_some() || self.alpha.is_some()
    }

    /// The network of a checkpoint whose own network is `own`: the preset, else `own`, with what
    /// other flags override. Without either, the flags must describe the whole network.
    ///
    /// # Errors
    /// If they describe no legal network.
    pub(super) fn resolve_for(&self, own: Option<&NetworkSpec>) -> Result<NetworkSpec, CliError> {
        let classes = own.map(|own| own.classes);
        match (&self.preset, own) {
            (None, Some(own)) => self.override_fields(own.clone(), classes),
            _ => self.resolve(classes),
        }
    }

    /// A network with the fields that flags give; `classes` unless a flag says otherwise.
    fn override_fields(
        &self,
        mut spec: NetworkSpec,
        classes: Option<u32>,
    ) -> Result<NetworkSpec, CliError> {
        if let Some(stem) = self.stem.filter(|stem| *stem != spec.stem) {
            spec.stem = stem;
            spec.image_size = stem.default_image_size();
            spec.classes = stem.default_classes();
        }
        let depth = self.depth.filter(|depth| *depth != spec.depth);
        if let (Some(depth), Family::PyramidNet) = (depth, spec.family) {
            spec.block = Block::default_for(spec.stem, depth);
        }
        spec.classes = classes.unwrap_or(spec.classes);
        for flag in &FLAGS {
            (flag.apply)(self, &mut spec);
        }
        spec.validate()?;
        Ok(spec)
    }
}
