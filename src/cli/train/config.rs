//! The configuration of a run, new or resumed, from flags.

use super::super::error::CliError;
use super::args::Args;
use crate::data::DatasetKind;
use crate::graph::Precision;
use crate::run::{Config, RunDirectory};
use crate::train::Recipe;

/// A flag for a part of a run's configuration.
struct RunFlag {
    /// Without the dashes.
    name: &'static str,
    /// Sets its part of the configuration, if the flag was given.
    apply: fn(&Args, &mut Config),
}

/// Replaces a value by a flag's, if it was given.
fn replace<T: Clone>(value: &mut T, flag: &Option<T>) {
    if let Some(wanted) = flag {
        *value = wanted.clone();
    }
}

const fn flag(name: &'static str, apply: fn(&Args, &mut Config)) -> RunFlag {
    RunFlag { name, apply }
}

/// Every flag that determines what a run computes, except the network's.
const FLAGS: [RunFlag; 13] = [
    flag("epochs", |args, config| {
        replace(&mut config.recipe.epochs, &args.recipe.epochs)
    }),
    flag("dataset", |args, config| {
        replace(
            &mut config.dataset,
            &args.data.dataset.map(|kind| kind.to_string()),
        );
    }),
    flag("data", |args, config| {
        replace(&mut config.data, &args.data.data.clone().map(Some))
    }),
    flag("seed", |args, config| {
        replace(&mut config.seed, &args.recipe.seed)
    }),
    flag("micro-batch", |args, config| {
        replace(&mut config.micro_batch, &args.recipe.micro_batch.map(Some))
    }),
    flag("no-fuse", |args, config| config.fuse &= !args.files.no_fuse),
    flag("precision", |args, config| {
        replace(&mut config.precision, &args.recipe.precision)
    }),
    flag("batch-size", |args, config| {
        replace(&mut config.recipe.batch_size, &args.recipe.batch_size)
    }),
    flag("lr", |args, config| {
        replace(&mut config.recipe.learning_rate, &args.recipe.lr)
    }),
    flag("momentum", |args, config| {
        replace(&mut config.recipe.momentum, &args.recipe.momentum)
    }),
    flag("weight-decay", |args, config| {
        replace(&mut config.recipe.weight_decay, &args.recipe.weight_decay)
    }),
    flag("milestones", |args, config| {
        replace(&mut config.recipe.milestones, &args.recipe.milestones)
    }),
    flag("no-augment", |args, config| {
        config.recipe.augment &= !args.recipe.no_augment
    }),
];

/// The configuration that the flags describe.
pub(super) fn new_config(args: &Args) -> Result<Config, CliError> {
    let kind = args.data.dataset.unwrap_or(DatasetKind::Shapes);
    let mut config = Config {
        dataset: kind.to_string(),
        data: None,
        seed: 1,
        micro_batch: None,
        fuse: true,
        recompute: args.files.recompute,
        precision: Precision::default(),
        network: args.network.resolve(None)?,
        recipe: Recipe::for_dataset(kind),
    };
    for flag in &FLAGS {
        (flag.apply)(args, &mut config);
    }
    Ok(config)
}

/// The configuration of a resumed run, with the changes that are allowed.
pub(super) fn resumed_config(args: &Args, run: &RunDirectory) -> Result<Config, CliError> {
    let mut config = run.config()?;
    check_recipe(&config)?;
    let network = &config.network;
    let mut changed: Vec<String> = args.network.changes(network).map(str::to_owned).collect();
    if args.network.preset.is_some() && args.network.resolve(Some(network.classes))? != *network {
        changed.push("--preset".to_owned());
    }
    for flag in &FLAGS {
        let mut wanted = config.clone();
        (flag.apply)(args, &mut wanted);
        let mut names = args.files.allow.iter().map(|a| a.trim_start_matches("--"));
        let allowed = names.any(|name| name == flag.name);
        let grows = wanted.recipe.epochs > config.recipe.epochs;
        if wanted == config || allowed || grows {
            config = wanted;
        } else if flag.name == "epochs" {
            changed.push("--epochs (it may only grow)".to_owned());
        } else {
            changed.push(format!("--{}", flag.name));
        }
    }
    // Recomputing activations changes no bit of the results.
    config.recompute |= args.files.recompute;
    match changed.is_empty() {
        true => Ok(config),
        false => Err(CliError::Usage(format!(
            "{} differs from what {} was started with; leave it out, or allow it by name with \
             --allow (network and dataset cannot change)",
            changed.join(", "),
            run.path().display()
        ))),
    }
}

pub(super) fn check_recipe(config: &Config) -> Result<(), CliError> {
    let recipe = &config.recipe;
    let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
    if recipe.epochs == 0 {
        return usage("--epochs 0 trains nothing; give at least 1");
    }
    if recipe.batch_size == 0 || config.micro_batch == Some(0) {
        return usage("a batch needs at least one image; the paper's batch is 128");
    }
    if config.micro_batch.is_some_and(|m| m > recipe.batch_size) {
        return usage("--micro-batch is larger than --batch-size; it should divide it");
    }
    if !(recipe.learning_rate > 0.0 && recipe.learning_rate.is_finite()) {
        return usage("--lr must be a positive number, such as 0.1");
    }
    if !(0.0..1.0).contains(&recipe.momentum) {
        return usage("--momentum must be at least 0 and below 1, such as 0.9");
    }
    if !(0.0..1.0).contains(&recipe.weight_decay) {
        return usage("--weight-decay must be at least 0 and below 1, such as 0.0001");
    }
    if recipe.milestones.contains(&0) {
        return usage("--milestones are epochs counted from 1");
    }
    Ok(())
}
