//! The configuration of a run, new or resumed, from flags.

use std::path::{Component, Path, PathBuf};

use super::super::dataset;
use super::super::error::CliError;
use super::args::Args;
use crate::data::DatasetKind;
use crate::graph::Precision;
use crate::run::{Config, RunDirectory};
use crate::text::{printable, printable_path};
use crate::train::Recipe;

/// A flag for a part of a run's configuration.
struct RunFlag {
    /// Without the dashes.
    name: &'static str,
    /// Sets its part of the configuration, if the flag was given; returns whether it was.
    apply: fn(&Args, &mut Config) -> bool,
    change: Change,
}

/// Whether a resumed run may differ from its configuration in a flag.
#[derive(PartialEq, Eq)]
enum Change {
    /// Always: it changes no bit of the results.
    Free,
    /// To more epochs always, otherwise with `--allow`.
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

const fn flag(
    name: &'static str,
    change: Change,
    apply: fn(&Args, &mut Config) -> bool,
) -> RunFlag {
    RunFlag {
        name,
        apply,
        change,
    }
}

/// The flag that may be allowed without being given: the images in the directory may have changed.
pub(super) const DATA: &str = "data";

/// Every flag that determines what a run computes, except the network's.
const FLAGS: [RunFlag; 14] = [
    flag("epochs", Change::Growing, |args, config| {
        replace(&mut config.recipe.epochs, &args.recipe.epochs)
    }),
    flag("dataset", Change::Refused, |args, config| {
        let dataset = args.data.dataset.map(|kind| kind.to_string());
        replace(&mut config.dataset, &dataset)
    }),
    flag(DATA, Change::Allowed, |args, config| {
        let directory = args.data.data.as_deref().map(directory);
        replace(&mut config.data, &directory.map(Some))
    }),
    flag("seed", Change::Allowed, |args, config| {
        replace(&mut config.seed, &args.recipe.seed)
    }),
    flag("micro-batch", Change::Allowed, |args, config| {
        replace(&mut config.micro_batch, &args.recipe.micro_batch.map(Some))
    }),
    flag("no-fuse", Change::Allowed, |args, config| {
        config.fuse &= !args.files.no_fuse;
        args.files.no_fuse
    }),
    flag("recompute", Change::Free, |args, config| {
        config.recompute |= args.files.recompute;
        args.files.recompute
    }),
    flag("precision", Change::Allowed, |args, config| {
        replace(&mut config.precision, &args.recipe.precision)
    }),
    flag("batch-size", Change::Allowed, |args, config| {
        replace(&mut config.recipe.batch_size, &args.recipe.batch_size)
    }),
    flag("lr", Change::Allowed, |args, config| {
        replace(&mut config.recipe.learning_rate, &args.recipe.lr)
    }),
    flag("momentum", Change::Allowed, |args, config| {
        replace(&mut config.recipe.momentum, &args.recipe.momentum)
    }),
    flag("weight-decay", Change::Allowed, |args, config| {
        replace(&mut config.recipe.weight_decay, &args.recipe.weight_decay)
    }),
    flag("milestones", Change::Allowed, |args, config| {
        replace(&mut config.recipe.milestones, &args.recipe.milestones)
    }),
    flag("no-augment", Change::Allowed, |args, config| {
        config.recipe.augment &= !args.recipe.no_augment;
        args.recipe.no_augment
    }),
];

/// The directory to record: absolute, so that the run resumes from any directory. A path with `..`
/// is canonicalised, because `..` after a symbolic link is the parent of the link's target.
fn directory(path: &Path) -> PathBuf {
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
            flags.any(|flag| flag.name == name)
        };
        match names.iter().find(|name| !may_change(plain(name))) {
            None => Ok(Allowed(names)),
            Some(name) => {
                let known = FLAGS.iter().filter(|flag| flag.change != Change::Refused);
                let known: Vec<&str> = known.map(|flag| flag.name).collect();
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
    dataset::check(args.data.dataset, args.data.data.as_deref())?;
    let kind = args.data.dataset.unwrap_or(DatasetKind::Shapes);
    let mut config = Config {
        dataset: kind.to_string(),
        data: None,
        seed: 1,
        micro_batch: None,
        fuse: true,
        recompute: false,
        precision: Precision::default(),
        network: args.network.resolve(None)?,
        recipe: Recipe::for_dataset(kind),
    };
    for flag in &FLAGS {
        (flag.apply)(args, &mut config);
    }
    config.check().map_err(CliError::Usage)?;
    Ok(config)
}

/// The configuration of a resumed run, with the changes that are allowed.
pub(super) fn resumed_config(
    args: &Args,
    allowed: &Allowed<'_>,
    run: &RunDirectory,
) -> Result<Config, CliError> {
    let mut config = run.config()?;
    let network = &config.network;
    let mut changed: Vec<String> = args.network.changes(network).map(str::to_owned).collect();
    if args.network.preset.is_some() && args.network.resolve(Some(network.classes))? != *network {
        changed.push("--preset".to_owned());
    }
    for flag in &FLAGS {
        let mut wanted = config.clone();
        let is_given = (flag.apply)(args, &mut wanted);
        if !is_given && allowed.has(flag.name) && flag.name != DATA {
            return Err(CliError::Usage(format!(
                "--allow {name} lets --{name} differ, which is not given; give it, or leave out \
                 --allow {name}",
                name = flag.name
            )));
        }
        let may_change = match flag.change {
            Change::Free => true,
            Change::Growing => wanted.recipe.epochs > config.recipe.epochs,
            Change::Allowed | Change::Refused => false,
        };
        if wanted == config || may_change || allowed.has(flag.name) {
            config = wanted;
        } else if flag.change == Change::Growing {
            changed.push(format!("--{} (it may only grow)", flag.name));
        } else {
            changed.push(format!("--{}", flag.name));
        }
    }
    if !changed.is_empty() {
        return Err(CliError::Usage(format!(
            "{} differs from what {} was started with; leave it out, or allow it by name with \
             --allow (network and dataset cannot change)",
            changed.join(", "),
            printable_path(run.path())
        )));
    }
    dataset::check(config.dataset.parse().ok(), config.data.as_deref())?;
    config.check().map_err(CliError::Usage)?;
    Ok(config)
}
