//! The configuration of a run, new or resumed, from flags.

use std::path::{Component, Path, PathBuf};

use super::super::dataset;
use super::super::error::CliError;
use super::args::Args;
use super::fine_tune;
use super::limits::{MicroBatch, Recompute, Shares};
use crate::data::DatasetKind;
use crate::graph::Precision;
use crate::run::{Config, RunDirectory};
use crate::text::{printable, printable_path};
use crate::train::{Recipe, Schedule};

/// A flag for a part of a run's configuration.
struct RunFlag {
    /// Without the dashes.
    name: &'static str,
    /// Its key in `config.toml`.
    key: &'static str,
    /// Takes its part over from another configuration.
    copy: fn(&Config, &mut Config),
    /// Sets its part of the configuration, if the flag was given; returns whether it was.
    apply: fn(&Args, &mut Config) -> bool,
    change: Change,
}

/// Whether a resumed run may differ from its configuration in a flag.
#[derive(PartialEq, Eq)]
enum Change {
    /// Always: it changes no bit of the results.
    Free,
    /// To more epochs always where that changes no rate before them, otherwise with `--allow`.
    Growing,
    /// With `--allow`.
    Allowed,
    /// Never.
    Refused,
}

/// Replaces a value by a flag's, if it was given; returns whether it was.
fn replace<T: Clone>(value: &mut T, flag: &Option<T>) -> bool {
    if let Some(wanted) = flag {
        *value = wanted.clone();
    }
    flag.is_some()
}

/// A row: name, change, field of the configuration, and `apply`.
macro_rules! flag {
    ($name:expr, $change:ident, $field:ident $(. $inner:ident)?, $apply:expr) => {
        RunFlag {
            name: $name,
            key: concat!(stringify!($field) $(, ".", stringify!($inner))?),
            copy: |from, to| to.$field $(. $inner)? = from.$field $(. $inner)?.clone(),
            apply: $apply,
            change: Change::$change,
        }
    };
}

/// The flag that may be allowed without being given: the images in the directory may have changed.
pub(super) const DATA: &str = "data";

/// The name with which another number of processes is allowed.
pub(super) const RANKS: &str = "ranks";

/// Every flag that determines what a run computes, except the network's.
const FLAGS: [RunFlag; 33] = [
    flag!("epochs", Growing, recipe.epochs, |args, config| {
        replace(&mut config.recipe.epochs, &args.recipe.epochs)
    }),
    flag!("dataset", Refused, dataset, |args, config| {
        let dataset = args.data.dataset.map(|kind| kind.to_string());
        replace(&mut config.dataset, &dataset)
    }),
    flag!(DATA, Allowed, data, |args, config| {
        let directory = args.data.data.as_deref().map(recorded_path);
        replace(&mut config.data, &directory.map(Some))
    }),
    flag!("from", Refused, from, |args, config| {
        let from = args.files.from.as_deref().map(recorded_path);
        replace(&mut config.from, &from.map(Some))
    }),
    flag!(
        "reset-classifier",
        Refused,
        reset_classifier,
        |args, config| {
            config.reset_classifier |= args.files.reset_classifier;
            args.files.reset_classifier
        }
    ),
    flag!("freeze-until", Refused, freeze_until, |args, config| {
        replace(&mut config.freeze_until, &args.files.freeze_until.map(Some))
    }),
    flag!("augmentation", Allowed, augmentation, |args, config| {
        replace(&mut config.augmentation, &args.data.augmentation)
    }),
    flag!("seed", Allowed, seed, |args, config| {
        replace(&mut config.seed, &args.recipe.seed)
    }),
    flag!("micro-batch", Allowed, micro_batch, |args, config| {
        let images = match args.recipe.micro_batch {
            Some(MicroBatch::Images(images)) => Some(Some(images)),
            Some(MicroBatch::Auto) | None => None,
        };
        replace(&mut config.micro_batch, &images)
    }),
    flag!("shares", Allowed, shares, |args, config| {
        let shares = match &args.several.shares {
            Some(Shares::Parts(parts)) => Some(parts.clone()),
            Some(Shares::Auto) | None => None,
        };
        replace(&mut config.shares, &shares)
    }),
    flag!(
        "sync-batch-norm",
        Allowed,
        sync_batch_norm,
        |args, config| {
            config.sync_batch_norm |= args.several.sync_batch_norm;
            args.several.sync_batch_norm
        }
    ),
    flag!("gradients", Allowed, gradients, |args, config| {
        replace(&mut config.gradients, &args.several.gradients)
    }),
    flag!("no-fuse", Allowed, fuse, |args, config| {
        config.fuse &= !args.files.no_fuse;
        args.files.no_fuse
    }),
    flag!("recompute", Free, recompute, |args, config| {
        let recompute = match args.files.recompute {
            Some(Recompute::On) => Some(true),
            Some(Recompute::Off) => Some(false),
            Some(Recompute::Auto) | None => None,
        };
        replace(&mut config.recompute, &recompute)
    }),
    flag!("precision", Allowed, precision, |args, config| {
        replace(&mut config.precision, &args.recipe.precision)
    }),
    flag!("batch-size", Allowed, recipe.batch_size, |args, config| {
        replace(&mut config.recipe.batch_size, &args.recipe.batch_size)
    }),
    flag!("lr", Allowed, recipe.learning_rate, |args, config| {
        replace(&mut config.recipe.learning_rate, &args.recipe.lr)
    }),
    flag!("momentum", Allowed, recipe.momentum, |args, config| {
        replace(&mut config.recipe.momentum, &args.recipe.momentum)
    }),
    flag!(
        "weight-decay",
        Allowed,
        recipe.weight_decay,
        |args, config| { replace(&mut config.recipe.weight_decay, &args.recipe.weight_decay) }
    ),
    flag!("milestones", Allowed, recipe.milestones, |args, config| {
        replace(&mut config.recipe.milestones, &args.recipe.milestones)
    }),
    flag!("schedule", Allowed, recipe.schedule, |args, config| {
        replace(&mut config.recipe.schedule, &args.recipe.schedule)
    }),
    flag!("power", Allowed, recipe.power, |args, config| {
        replace(&mut config.recipe.power, &args.recipe.power)
    }),
    flag!("warmup", Allowed, recipe.warmup, |args, config| {
        replace(&mut config.recipe.warmup, &args.recipe.warmup)
    }),
    flag!("no-augment", Allowed, recipe.augment, |args, config| {
        config.recipe.augment &= !args.recipe.no_augment;
        args.recipe.no_augment
    }),
    flag!(
        "clip-grad-norm",
        Allowed,
        recipe.clip_grad_norm,
        |args, config| {
            let norm = args.recipe.clip_grad_norm.map(Some);
            replace(&mut config.recipe.clip_grad_norm, &norm)
        }
    ),
    flag!("ema", Allowed, recipe.ema, |args, config| {
        replace(&mut config.recipe.ema, &args.recipe.ema.map(Some))
    }),
    flag!("patience", Free, recipe.patience, |args, config| {
        replace(&mut config.recipe.patience, &args.recipe.patience.map(Some))
    }),
    flag!(
        "auto-augment",
        Allowed,
        recipe.auto_augment,
        |args, config| {
            replace(
                &mut config.recipe.auto_augment,
                &args.recipe.augment.auto_augment,
            )
        }
    ),
    flag!("erase", Allowed, recipe.erase, |args, config| {
        replace(&mut config.recipe.erase, &args.recipe.augment.erase)
    }),
    flag!("cutout", Allowed, recipe.cutout, |args, config| {
        replace(
            &mut config.recipe.cutout,
            &args.recipe.augment.cutout.map(Some),
        )
    }),
    flag!("mixup", Allowed, recipe.mixup, |args, config| {
        replace(
            &mut config.recipe.mixup,
            &args.recipe.augment.mixup.map(Some),
        )
    }),
    flag!("cutmix", Allowed, recipe.cutmix, |args, config| {
        replace(
            &mut config.recipe.cutmix,
            &args.recipe.augment.cutmix.map(Some),
        )
    }),
    flag!(
        "label-smoothing",
        Allowed,
        recipe.label_smoothing,
        |args, config| {
            let smoothing = &args.recipe.label_smoothing;
            replace(&mut config.recipe.label_smoothing, smoothing)
        }
    ),
];

/// The path to record: absolute, so that the run resumes from any directory. A path with `..`
/// is canonicalised, because `..` after a symbolic link is the parent of the link's target.
fn recorded_path(path: &Path) -> PathBuf {
    // Only an empty path has no absolute form; opening what cannot be resolved reports it.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match path.components().any(|part| part == Component::ParentDir) {
        true => path.canonicalize().unwrap_or(path),
        false => path,
    }
}

/// The flags named with `--allow`.
pub(super) struct Allowed<'a>(&'a [String]);

impl Allowed<'_> {
    /// The names given with `--allow`.
    ///
    /// # Errors
    /// If a name is not that of a flag that may change.
    pub(super) fn new(args: &Args) -> Result<Allowed<'_>, CliError> {
        let names = &args.files.allow;
        if !names.is_empty() && args.files.resume.is_none() {
            return Err(CliError::Usage(
                "--allow needs --resume: a new run takes every flag".to_owned(),
            ));
        }
        let may_change = |name: &str| {
            let mut flags = FLAGS.iter().filter(|flag| flag.change != Change::Refused);
            name == RANKS || flags.any(|flag| flag.name == name)
        };
        match names.iter().find(|name| !may_change(plain(name))) {
            None => Ok(Allowed(names)),
            Some(name) => {
                let known = FLAGS.iter().filter(|flag| flag.change != Change::Refused);
                let known = known.map(|flag| flag.name).chain([RANKS]);
                let known: Vec<&str> = known.collect();
                Err(CliError::Usage(format!(
                    "--allow {}: not a flag that a resumed run may change (network and dataset \
                     cannot change); these may: {}",
                    printable(name),
                    known.join(", ")
                )))
            }
        }
    }

    /// Whether a flag, without its dashes, may change.
    pub(super) fn has(&self, flag: &str) -> bool {
        self.0.iter().any(|name| plain(name) == flag)
    }
}

/// The name of a flag without its dashes.
fn plain(name: &str) -> &str {
    name.trim_start_matches("--")
}

/// The configuration that the flags describe.
pub(super) fn new_config(args: &Args) -> Result<Config, CliError> {
    let base = args.base.as_deref();
    if base.is_none() {
        dataset::check(args.data.dataset, args.data.data.as_deref())?;
    }
    let network = match &args.files.from {
        None => args.network.resolve_for(base.map(|base| &base.network))?,
        Some(path) => fine_tune::network(path, &args.network)?,
    };
    let kind = args.data.dataset.unwrap_or(DatasetKind::Shapes);
    let mut config = match base {
        Some(base) => Config {
            network,
            ..base.clone()
        },
        None => Config {
            dataset: kind.to_string(),
            data: None,
            augmentation: network.stem.augmentation(kind),
            seed: 1,
            micro_batch: None,
            shares: Vec::new(),
            sync_batch_norm: false,
            gradients: Precision::default(),
            fuse: true,
            recompute: false,
            precision: Precision::default(),
            from: None,
            reset_classifier: false,
            freeze_until: None,
            network,
            recipe: Recipe::for_dataset(kind),
        },
    };
    // What belongs to the dataset or to the network that a flag replaces.
    if args.data.dataset.is_some() && config.dataset != kind.to_string() {
        config.data = None;
        config.augmentation = config.network.stem.augmentation(kind);
    }
    if args.network.preset.is_some() {
        (config.from, config.reset_classifier, config.freeze_until) = (None, false, None);
    } else if let (Some(from), None, Some(base)) = (&config.from, &args.files.from, base)
        && config.network != base.network
    {
        return Err(CliError::Usage(format!(
            "--config: its run began with {}, whose network cannot change; give --from, or --preset \
             for another network",
            printable_path(from)
        )));
    }
    if base.is_some_and(|base| base.network.stem != config.network.stem) {
        config.augmentation = config.network.stem.augmentation(config.dataset.parse()?);
    }
    // Flags also replace what they cannot be given with.
    if args.recipe.milestones.is_some() {
        config.recipe.schedule = Schedule::Step;
    }
    let schedule = args.recipe.schedule.unwrap_or(config.recipe.schedule);
    if schedule != Schedule::Polynomial {
        config.recipe.power = 1.0;
    }
    config.recipe.augment |= args.data.augmentation.is_some();
    for flag in &FLAGS {
        (flag.apply)(args, &mut config);
    }
    config.recipe.drop_zeros();
    dataset::check(config.dataset.parse().ok(), config.data.as_deref())?;
    config.check().map_err(CliError::Usage)?;
    Ok(config)
}

/// Checks that flags have an effect on a resumed run.
fn check_effects(args: &Args, config: &Config) -> Result<(), CliError> {
    let recipe = &config.recipe;
    let unused = if args.data.augmentation.is_some() && !recipe.augment {
        "--augmentation has no effect on a run with --no-augment"
    } else if args.recipe.milestones.is_some() && !recipe.schedule.is_step() {
        "--milestones has no effect on a run with another schedule than step"
    } else {
        return Ok(());
    };
    Err(CliError::Usage(format!("{unused}; leave it out")))
}

/// The configuration of a resumed run, with the changes that are allowed. `written` is that of
/// `config.toml`, and `saved` that of the state if the two may differ only by a change of a user,
/// who could have given flags instead.
pub(super) fn resumed_config(
    args: &Args,
    allowed: &Allowed<'_>,
    run: &RunDirectory,
    written: Config,
    saved: Option<&Config>,
) -> Result<Config, CliError> {
    let mut config = Config {
        network: written.network.clone(),
        ..saved.unwrap_or(&written).clone()
    };
    let network = &config.network;
    let mut changed: Vec<String> = args.network.changes(network).map(str::to_owned).collect();
    if args.network.preset.is_some() && args.network.resolve(Some(network.classes))? != *network {
        changed.push("--preset".to_owned());
    }
    for flag in &FLAGS {
        let mut wanted = config.clone();
        (flag.copy)(&written, &mut wanted);
        let is_edited = wanted != config;
        let is_given = (flag.apply)(args, &mut wanted);
        wanted.recipe.drop_zeros();
        if !is_given && !is_edited && allowed.has(flag.name) && flag.name != DATA {
            return Err(CliError::Usage(format!(
                "--allow {name} lets --{name} differ, which is not given; give it, or leave out \
                 --allow {name}",
                name = flag.name
            )));
        }
        let may_change = match flag.change {
            Change::Free => true,
            Change::Growing => {
                config.recipe.schedule.is_step() && wanted.recipe.epochs > config.recipe.epochs
            }
            Change::Allowed | Change::Refused => false,
        };
        if wanted == config || may_change || allowed.has(flag.name) {
            config = wanted;
            continue;
        }
        let name = match is_given {
            true => format!("--{}", flag.name),
            false => format!("{} in config.toml (--{})", flag.key, flag.name),
        };
        let rule = match flag.change {
            Change::Growing if config.recipe.schedule.is_step() => " (it may only grow)",
            Change::Growing => " (the schedule ends with them)",
            _ => "",
        };
        changed.push(format!("{name}{rule}"));
    }
    if !changed.is_empty() {
        return Err(CliError::Usage(format!(
            "{} differs from what {} was trained with; leave it out or restore it, or allow it by \
             name with --allow (network and dataset cannot change)",
            changed.join(", "),
            printable_path(run.path())
        )));
    }
    dataset::check(config.dataset.parse().ok(), config.data.as_deref())?;
    check_effects(args, &config)?;
    config.check().map_err(CliError::Usage)?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Augmentation;
    use crate::model::preset;
    use crate::train::AutoAugment;

    #[test]
    fn every_key_of_a_run_has_a_flag() {
        let config = Config {
            dataset: "shapes".to_owned(),
            data: Some(PathBuf::new()),
            augmentation: Augmentation::ImageNet,
            seed: 1,
            micro_batch: Some(1),
            shares: vec![2, 1],
            sync_batch_norm: true,
            gradients: Precision::F16,
            fuse: true,
            recompute: false,
            precision: Precision::default(),
            from: Some(PathBuf::new()),
            reset_classifier: true,
            freeze_until: Some(0),
            network: preset("demo").unwrap(),
            recipe: Recipe {
                schedule: Schedule::Polynomial,
                power: 2.0,
                warmup: 1,
                clip_grad_norm: Some(1.0),
                ema: Some(0.5),
                patience: Some(1),
                auto_augment: AutoAugment::Rand,
                erase: 1.0,
                cutout: Some(1),
                mixup: Some(1.0),
                cutmix: Some(1.0),
                label_smoothing: 0.5,
                ..Recipe::for_dataset(DatasetKind::Shapes)
            },
        };
        let value = serde_json::to_value(config).unwrap();
        let keys =
            |value: &serde_json::Value| Vec::from_iter(value.as_object().unwrap().keys().cloned());
        let recipe = keys(&value["recipe"])
            .into_iter()
            .map(|key| format!("recipe.{key}"));
        let mut expected = keys(&value);
        expected.retain(|key| !["network", "recipe"].contains(&key.as_str()));
        expected.extend(recipe);
        expected.sort();
        let mut known: Vec<&str> = FLAGS.iter().map(|flag| flag.key).collect();
        known.sort_unstable();
        assert_eq!(known, expected);
    }
}
