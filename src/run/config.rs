//! The configuration of a run, sufficient to repeat it, and the software and hardware it ran on.

use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::{Augmentation, DataError, DatasetKind};
use crate::engine::Device;
use crate::gpu;
use crate::graph::{ActivationCheckpointing, Passes, Precision};
use crate::model::{Network, NetworkSpec, SpecError};
use crate::rng::hash;
use crate::text::printable;
use crate::train::{AutoAugment, Recipe, Schedule};

/// The configuration of a run, sufficient to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Dataset: `shapes`, `cifar10`, ….
    pub dataset: String,
    /// Its directory, as an absolute path, so that a run resumes from any directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// How training images are augmented, if they are.
    #[serde(default, skip_serializing_if = "Augmentation::is_crop")]
    pub augmentation: Augmentation,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Size of a micro-batch, if smaller than the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Relative shares of several devices in a batch; empty for equal ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<u32>,
    /// Whether batch norm uses statistics over several devices.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sync_batch_norm: bool,
    /// Precision in which several processes send each other sums of gradients.
    #[serde(default, skip_serializing_if = "Precision::is_single")]
    pub gradients: Precision,
    /// Whether fusion rules were applied.
    pub fuse: bool,
    /// Whether the backward pass recomputes the activations of units
    /// ([`ActivationCheckpointing::Units`]).
    #[serde(default)]
    pub recompute: bool,
    /// Storage precision of activations.
    #[serde(default)]
    pub precision: Precision,
    /// The checkpoint whose weights the run began with, as an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Whether the classifier began with random weights even if the checkpoint's has the same
    /// classes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset_classifier: bool,
    /// Stages that are frozen, and the stem; 0 for the stem alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_until: Option<u32>,
    /// The network.
    pub network: NetworkSpec,
    /// Optimiser and schedule.
    pub recipe: Recipe,
}

/// What precedes the id of the run.
const RUN_ID: &str = "# Run id: ";

impl Config {
    /// Reads a configuration, and checks it.
    ///
    /// # Errors
    /// What is wrong with it. An unknown key is wrong: what it says would be ignored.
    pub fn from_toml(text: &str) -> Result<Config, String> {
        let mut config: Config = parse_toml(text)?;
        config.recipe.drop_zeros();
        config.check()?;
        let written: Value = parse_toml(text)?;
        let complete = Config {
            data: Some(PathBuf::new()),
            augmentation: Augmentation::ImageNet,
            micro_batch: Some(1),
            shares: vec![1],
            sync_batch_norm: true,
            gradients: Precision::F16,
            from: Some(PathBuf::new()),
            reset_classifier: true,
            freeze_until: Some(0),
            // No default value, which would leave a key out.
            network: NetworkSpec {
                ceil_mode: true,
                shakedrop: 0.5,
                stochastic_depth: 0.5,
                ..config.network.clone()
            },
            recipe: Recipe {
                schedule: Schedule::Polynomial,
                power: 2.0,
                warmup: 1,
                clip_grad_norm: Some(1.0),
                ema: Some(0.5),
                patience: Some(1),
                auto_augment: AutoAugment::Trivial,
                erase: 1.0,
                cutout: Some(1),
                mixup: Some(1.0),
                cutmix: Some(1.0),
                label_smoothing: 0.5,
                ..config.recipe.clone()
            },
            ..config.clone()
        };
        let known = serde_json::to_value(complete).map_err(|error| error.to_string())?;
        match unknown_key(&written, &known) {
            None => Ok(config),
            Some((key, nearest)) => {
                let meant = nearest.map(|known| format!(" (did you mean `{known}`?)"));
                Err(format!(
                    "unknown key `{}`{}; it may be that of a newer pyr-wgpu, and environment.json \
                     names the version that began the run",
                    printable(&key),
                    meant.unwrap_or_default()
                ))
            }
        }
    }

    /// The configuration as TOML. A checksum in a comment reveals what a user changes later.
    pub fn to_toml(&self) -> String {
        let text = toml::to_string(self).expect("a checked configuration is plain data");
        let checksum = hash(text.bytes());
        format!(
            "# To change a value, resume with its flag, as in --lr 0.01 --allow lr. Checksum: \
             {checksum:016x}\n{text}"
        )
    }

    /// The id of a run that begins with this configuration. Equal runs have the same, so that
    /// their states are equal; the number of epochs may be raised later and does not count.
    pub(super) fn run_id(&self) -> u64 {
        let mut endless = self.clone();
        endless.recipe.epochs = 0;
        hash(endless.to_toml().into_bytes())
    }

    /// The text of `config.toml` of a run with this id.
    pub(super) fn file_text(&self, run_id: Option<u64>) -> String {
        let line = run_id.map(|id| format!("{RUN_ID}{id:016x}\n"));
        self.to_toml() + &line.unwrap_or_default()
    }

    /// The id of the run in a text of [`Config::file_text`].
    pub(super) fn run_id_in(text: &str) -> Option<u64> {
        text.lines().find_map(|line| {
            let digits = line.strip_prefix(RUN_ID)?.trim_end();
            let id = u64::from_str_radix(digits, 16).ok();
            id.filter(|_| digits.len() == 16)
        })
    }

    /// Whether the file with this text, from which the configuration was read, has the values that
    /// [`Config::to_toml`] wrote.
    pub(super) fn is_as_written(&self, text: &str) -> bool {
        text.lines().next() == self.to_toml().lines().next()
    }

    /// The passes over the graphs.
    pub fn passes(&self) -> Passes {
        Passes {
            fuse: self.fuse,
            checkpointing: match self.recompute {
                true => ActivationCheckpointing::Units,
                false => ActivationCheckpointing::default(),
            },
            precision: self.precision,
        }
    }

    /// The network, with the frozen layers.
    ///
    /// # Errors
    /// If there is no such network, or it has fewer stages than are frozen.
    pub fn network(&self) -> Result<Network, SpecError> {
        let mut network = Network::new(&self.network)?;
        if let Some(stages) = self.freeze_until {
            network.freeze_until(stages)?;
        }
        Ok(network)
    }

    /// Checks that a run with this configuration is possible; the dataset is not opened.
    ///
    /// # Errors
    /// What is wrong, and the flag that sets it.
    pub fn check(&self) -> Result<(), String> {
        let recipe = &self.recipe;
        let rule = |holds: bool, text: &str| match holds {
            true => Ok(()),
            false => Err(text.to_owned()),
        };
        let kind: DatasetKind = self
            .dataset
            .parse()
            .map_err(|error: DataError| error.to_string())?;
        rule(
            self.augmentation.is_crop() || kind.has_image_files(),
            "--augmentation imagenet crops images where their files are decoded, so it needs \
             --dataset imagenet or folder; leave it out",
        )?;
        self.network().map_err(|error| error.to_string())?;
        rule(
            recipe.epochs > 0,
            "--epochs 0 trains nothing; give at least 1",
        )?;
        rule(
            recipe.epochs < u32::MAX,
            "--epochs must be below 4294967295",
        )?;
        rule(
            recipe.batch_size > 0 && self.micro_batch != Some(0),
            "a batch needs at least one image; the paper's batch is 128",
        )?;
        rule(
            recipe.batch_size <= u32::MAX as usize,
            "--batch-size is too large; the paper's batch is 128",
        )?;
        rule(!self.shares.contains(&0), "shares must be above 0")?;
        rule(
            self.micro_batch.is_none_or(|m| m <= recipe.batch_size),
            "--micro-batch is larger than --batch-size; it should divide it",
        )?;
        rule(
            recipe.learning_rate > 0.0 && recipe.learning_rate.is_finite(),
            "--lr must be a positive number, such as 0.1",
        )?;
        rule(
            (0.0..1.0).contains(&recipe.momentum),
            "--momentum must be at least 0 and below 1, such as 0.9",
        )?;
        rule(
            (0.0..1.0).contains(&recipe.weight_decay),
            "--weight-decay must be at least 0 and below 1, such as 0.0001",
        )?;
        rule(
            recipe.power > 0.0 && recipe.power.is_finite(),
            "--power must be a positive number, such as 0.9",
        )?;
        rule(
            recipe.power == 1.0 || recipe.schedule == Schedule::Polynomial,
            "--power is the exponent of --schedule polynomial; give both, or leave it out",
        )?;
        rule(
            recipe.warmup < recipe.epochs,
            "--warmup leaves no epoch for the schedule; give fewer than --epochs",
        )?;
        rule(
            recipe
                .clip_grad_norm
                .is_none_or(|norm| norm > 0.0 && norm.is_finite()),
            "--clip-grad-norm must be a positive number, such as 1, or 0 for none",
        )?;
        rule(
            recipe.ema.is_none_or(|decay| decay > 0.0 && decay < 1.0),
            "--ema must be above 0 and below 1, such as 0.999, or 0 for none",
        )?;
        rule(
            recipe.patience != Some(0),
            "a patience of 0 epochs ends a run before it begins; leave it out",
        )?;
        rule(
            !recipe.milestones.contains(&0),
            "--milestones are epochs counted from 1",
        )?;
        let batch = self.micro_batch.unwrap_or(recipe.batch_size);
        recipe.check_augmentation(self.network.image_size, batch, self.augmentation)?;
        let is_text = |path: &Option<PathBuf>| {
            let path = path.as_ref();
            path.is_none_or(|path| path.to_str().is_some())
        };
        rule(
            is_text(&self.data) && is_text(&self.from),
            "the path of --data or --from is not UTF-8, which config.toml cannot hold; rename it",
        )
    }
}

/// The first key of a table, or of a table in it, that another table does not have, with the names
/// of the tables around it, and a key that may have been meant.
pub fn unknown_key<'a>(written: &Value, known: &'a Value) -> Option<(String, Option<&'a str>)> {
    let (written, known) = (written.as_object()?, known.as_object()?);
    written
        .iter()
        .find_map(|(key, value)| match known.get(key) {
            Some(known) => {
                let (inner, nearest) = unknown_key(value, known)?;
                Some((format!("{key}.{inner}"), nearest))
            }
            None => {
                let distance = |known: &&String| strsim::levenshtein(known, key);
                let nearest = known.keys().min_by_key(distance);
                let nearest = nearest.filter(|known| distance(known) <= 3);
                Some((key.clone(), nearest.map(String::as_str)))
            }
        })
}

/// The software and hardware of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub version: &'static str,
    /// Operating system and processor architecture.
    pub system: String,
    /// Major version of wgpu.
    pub wgpu: &'static str,
    /// The first device, which evaluates.
    #[serde(flatten)]
    pub first: DeviceEnvironment,
    /// The other devices, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<DeviceEnvironment>,
    /// Devices of each rank, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<usize>,
}

/// A device of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceEnvironment {
    /// The value of `--device` that selects this device again.
    pub device: String,
    /// Display name of the device.
    pub device_name: String,
    /// Its properties, if it is an adapter.
    pub adapter: Option<gpu::Description>,
}

impl Environment {
    /// The environment of a run on some devices; `ranks` has the devices of each rank, if there are
    /// several.
    ///
    /// # Panics
    /// If there is no device.
    pub fn new(mut devices: Vec<DeviceEnvironment>, ranks: Vec<usize>) -> Environment {
        Environment {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            wgpu: gpu::WGPU_VERSION,
            first: devices.remove(0),
            others: devices,
            ranks,
        }
    }
}

impl DeviceEnvironment {
    /// Describes a device.
    pub fn new(device: &Device) -> DeviceEnvironment {
        DeviceEnvironment {
            device: device.selector(),
            device_name: device.name(),
            adapter: device.description().cloned(),
        }
    }
}

/// Parses a TOML file.
///
/// # Errors
/// What is wrong with it, in one line: the error's own text repeats lines of the file.
pub fn parse_toml<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        format!("line {line}: {}", printable(error.message()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    fn config() -> Config {
        Config {
            from: None,
            reset_classifier: false,
            freeze_until: None,
            dataset: "shapes".to_owned(),
            data: None,
            augmentation: Augmentation::default(),
            seed: u64::MAX,
            micro_batch: Some(4),
            shares: vec![3, 1],
            sync_batch_norm: true,
            gradients: Precision::F16,
            fuse: true,
            recompute: false,
            precision: Precision::default(),
            network: preset("demo").unwrap(),
            recipe: Recipe::for_dataset(DatasetKind::Shapes),
        }
    }

    /// An edit of a configuration.
    type Edit = fn(&mut Config);

    #[test]
    fn numbers_at_their_limits_are_accepted_and_others_refused() {
        let checked = |edit: Edit| {
            let mut config = config();
            edit(&mut config);
            config.check()
        };
        let accepted: [Edit; 10] = [
            |_| {},
            |config| config.recipe.momentum = 0.0,
            |config| config.recipe.weight_decay = 0.0,
            |config| config.recipe.learning_rate = f32::MIN_POSITIVE,
            |config| config.recipe.ema = Some(f32::MIN_POSITIVE),
            |config| config.recipe.ema = Some(1.0f32.next_down()),
            |config| config.recipe.warmup = config.recipe.epochs - 1,
            |config| config.recipe.clip_grad_norm = Some(f32::MIN_POSITIVE),
            |config| config.recipe.patience = Some(1),
            |config| config.micro_batch = Some(config.recipe.batch_size),
        ];
        for (number, edit) in accepted.into_iter().enumerate() {
            assert_eq!(checked(edit), Ok(()), "edit {number}");
        }
        let refused: [(Edit, &str); 21] = [
            (|config| config.recipe.epochs = u32::MAX, "--epochs"),
            (|config| config.recipe.batch_size = 0, "at least one image"),
            (|config| config.micro_batch = Some(0), "at least one image"),
            (|config| config.shares = vec![1, 0], "shares"),
            (
                |config| config.micro_batch = Some(config.recipe.batch_size + 1),
                "--micro-batch",
            ),
            (|config| config.recipe.learning_rate = 0.0, "--lr"),
            (|config| config.recipe.learning_rate = f32::INFINITY, "--lr"),
            (|config| config.recipe.learning_rate = f32::NAN, "--lr"),
            (|config| config.recipe.momentum = 1.0, "--momentum"),
            (|config| config.recipe.momentum = -0.1, "--momentum"),
            (|config| config.recipe.weight_decay = 1.0, "--weight-decay"),
            (|config| config.recipe.weight_decay = -0.1, "--weight-decay"),
            (|config| config.recipe.power = 0.0, "--power must"),
            (|config| config.recipe.power = 2.0, "--power is"),
            (
                |config| config.recipe.warmup = config.recipe.epochs,
                "--warmup",
            ),
            (
                |config| config.recipe.clip_grad_norm = Some(0.0),
                "--clip-grad-norm",
            ),
            (
                |config| config.recipe.clip_grad_norm = Some(f32::INFINITY),
                "--clip-grad-norm",
            ),
            (|config| config.recipe.ema = Some(0.0), "--ema"),
            (|config| config.recipe.ema = Some(1.0), "--ema"),
            (|config| config.recipe.patience = Some(0), "patience"),
            (
                |config| config.recipe.milestones = vec![1, 0],
                "--milestones",
            ),
        ];
        for (edit, word) in refused {
            let error = checked(edit).unwrap_err().to_string();
            assert!(error.contains(word), "`{error}` lacks {word}");
        }
    }

    #[test]
    fn every_key_is_known() {
        let config = config();
        let text = config.to_toml();
        assert_eq!(Config::from_toml(&text), Ok(config.clone()));
        assert!(config.is_as_written(&text) && config.is_as_written(&text.replace(" = ", "=")));
        let other = text.replace("momentum = 0.9", "momentum = 0.8");
        let changed = Config::from_toml(&other).unwrap();
        assert!(!changed.is_as_written(&other));
        // Keys that the first versions did not write.
        let older = text.replace("recompute = false\nprecision = \"f32\"\n", "");
        assert_ne!(older, text);
        assert_eq!(Config::from_toml(&older), Ok(config));
        for (from, to, key, nearest) in [
            ("micro_batch", "microbatch", "`microbatch`", "`micro_batch`"),
            (
                "[recipe]",
                "[recipe]\nmomentun = 0.5",
                "`recipe.momentun`",
                "`momentum`",
            ),
            (
                "[network]",
                "[network]\ndropuot = 0.5",
                "`network.dropuot`",
                "`dropout`",
            ),
            (
                "[network]",
                "[optimizer]\n[network]",
                "`optimizer`;",
                "newer",
            ),
        ] {
            let error = Config::from_toml(&text.replace(from, to)).unwrap_err();
            for word in [key, nearest] {
                assert!(error.contains(word), "{error} lacks {word}");
            }
        }
    }
}
