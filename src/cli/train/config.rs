//! From flags to the configuration of a run, new or continued.

use super::super::error::CliError;
use super::args::Args;
use crate::data::DatasetKind;
use crate::run::{Config, RunDirectory};
use crate::train::Recipe;

/// The configuration that the flags describe.
pub(super) fn new_config(args: &Args) -> Result<Config, CliError> {
    let kind = args.data.dataset.unwrap_or(DatasetKind::Shapes);
    let base = Recipe::for_dataset(kind);
    let flags = &args.recipe;
    Ok(Config {
        dataset: kind.to_string(),
        data: args.data.data.clone(),
        seed: flags.seed.unwrap_or(1),
        micro_batch: flags.micro_batch,
        fuse: !args.files.no_fuse,
        recompute: args.files.recompute,
        precision: args.recipe.precision.unwrap_or_default(),
        network: args.network.resolve(None)?,
        recipe: Recipe {
            epochs: flags.epochs.unwrap_or(base.epochs),
            batch_size: flags.batch_size.unwrap_or(base.batch_size),
            learning_rate: flags.lr.unwrap_or(base.learning_rate),
            momentum: flags.momentum.unwrap_or(base.momentum),
            weight_decay: flags.weight_decay.unwrap_or(base.weight_decay),
            milestones: flags.milestones.clone().unwrap_or(base.milestones),
            augment: base.augment && !flags.no_augment,
        },
    })
}

/// The configuration of a run that continues, with the changes that are allowed.
pub(super) fn resumed_config(args: &Args, run: &RunDirectory) -> Result<Config, CliError> {
    let mut config = run.config()?;
    let mut changed: Vec<&str> = args.network.changes(&config.network);
    if args.network.preset.is_some()
        && args.network.resolve(Some(config.network.classes))? != config.network
    {
        changed.push("--preset");
    }
    let flags = &args.recipe;
    let allowed = |flag: &str| {
        args.files
            .allow
            .iter()
            .any(|a| a.trim_start_matches("--") == flag)
    };
    if let Some(epochs) = flags.epochs.filter(|e| *e != config.recipe.epochs) {
        match epochs > config.recipe.epochs || allowed("epochs") {
            true => config.recipe.epochs = epochs,
            false => changed.push("--epochs (it may only grow)"),
        }
    }
    let dataset = args.data.dataset.map(|kind| kind.to_string());
    change(
        &mut config.dataset,
        dataset,
        "--dataset",
        allowed("dataset"),
        &mut changed,
    );
    let data = args.data.data.clone().map(Some);
    change(
        &mut config.data,
        data,
        "--data",
        allowed("data"),
        &mut changed,
    );
    change(
        &mut config.seed,
        flags.seed,
        "--seed",
        allowed("seed"),
        &mut changed,
    );
    let micro = flags.micro_batch.map(Some);
    change(
        &mut config.micro_batch,
        micro,
        "--micro-batch",
        allowed("micro-batch"),
        &mut changed,
    );
    let fuse = args.files.no_fuse.then_some(false);
    change(
        &mut config.fuse,
        fuse,
        "--no-fuse",
        allowed("no-fuse"),
        &mut changed,
    );
    change(
        &mut config.precision,
        flags.precision,
        "--precision",
        allowed("precision"),
        &mut changed,
    );
    // It changes no bit.
    config.recompute |= args.files.recompute;
    let recipe = &mut config.recipe;
    change(
        &mut recipe.batch_size,
        flags.batch_size,
        "--batch-size",
        allowed("batch-size"),
        &mut changed,
    );
    change(
        &mut recipe.learning_rate,
        flags.lr,
        "--lr",
        allowed("lr"),
        &mut changed,
    );
    change(
        &mut recipe.momentum,
        flags.momentum,
        "--momentum",
        allowed("momentum"),
        &mut changed,
    );
    let decay = flags.weight_decay;
    change(
        &mut recipe.weight_decay,
        decay,
        "--weight-decay",
        allowed("weight-decay"),
        &mut changed,
    );
    let milestones = flags.milestones.clone();
    change(
        &mut recipe.milestones,
        milestones,
        "--milestones",
        allowed("milestones"),
        &mut changed,
    );
    let augment = flags.no_augment.then_some(false);
    change(
        &mut recipe.augment,
        augment,
        "--no-augment",
        allowed("no-augment"),
        &mut changed,
    );
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

/// Takes over a flag that may change, or notes that it differs.
fn change<'n, T: PartialEq>(
    value: &mut T,
    flag: Option<T>,
    name: &'n str,
    allowed: bool,
    changed: &mut Vec<&'n str>,
) {
    if let Some(wanted) = flag.filter(|wanted| wanted != value) {
        match allowed {
            true => *value = wanted,
            false => changed.push(name),
        }
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
