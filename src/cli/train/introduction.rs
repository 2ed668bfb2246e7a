//! What is printed before the first step: network, data, recipe, memory, and where the run is.

use super::super::device::DeviceArgs;
use super::plan::{Plan, Start};
use crate::data::Augmentation;
use crate::graph::Precision;
use crate::memory::bytes;
use crate::model::{Parameter, crop_padding};
use crate::ranks::Ranks;
use crate::run::RunDirectory;
use crate::text::printable_path;
use crate::train::{Recipe, Schedule, Trainer};

/// Prints what is about to run.
pub(super) fn introduce(
    plan: &Plan,
    trainer: &Trainer,
    run: &RunDirectory,
    ranks: Option<&Ranks>,
    device: &DeviceArgs,
) {
    let counts = plan.network.counts();
    let recipe = &plan.config.recipe;
    device.say(&format!(
        "network: {} ({} parameters, {:.1} MMAC per image)",
        plan.config.network,
        counts.parameters,
        counts.macs as f64 / 1e6
    ));
    let padding = crop_padding(plan.config.network.image_size as usize);
    let augment = match (recipe.augment, plan.config.augmentation) {
        (true, Augmentation::Crop) => format!("flip and crop after padding by {padding}"),
        (true, Augmentation::ImageNet) => {
            "flip, crop of random area, changes of colour and lighting".to_owned()
        }
        (false, _) => "no flip and crop".to_owned(),
    };
    device.say(&format!(
        "data: {}, {} training and {} test images, {augment}{}",
        plan.config.dataset,
        trainer.images_per_epoch(),
        plan.dataset.test.len(),
        more(recipe.augmentation_options())
    ));
    let micro = plan
        .config
        .micro_batch
        .map(|m| format!(" in micro-batches of {m}"));
    device.say(&format!(
        "recipe: {} epochs, batch {}{}, learning rate {}{}, momentum {}, weight decay {}{}, seed {}",
        recipe.epochs,
        recipe.batch_size,
        micro.unwrap_or_default(),
        recipe.learning_rate,
        schedule(recipe),
        recipe.momentum,
        recipe.weight_decay,
        more(recipe.update_options()),
        plan.config.seed
    ));
    if plan.config.freeze_until.is_some() {
        let trained = plan.network.trained_parameters();
        let first = trained.first().map_or("", |parameter| &parameter.name);
        let count: usize = trained.iter().map(Parameter::len).sum();
        device.say(&format!(
            "trained: {count} parameters, from {first} on; the others are frozen"
        ));
    }
    let replicas = trainer.shares().len();
    device.say(&match replicas {
        1 => format!("memory: {} on the device", bytes(trainer.bytes())),
        _ => {
            let own = trainer.engines().map(|engine| bytes(engine.bytes()));
            let own: Vec<String> = own.collect();
            let shares: Vec<String> = trainer.shares().iter().map(usize::to_string).collect();
            let (processes, first) = match ranks {
                Some(ranks) => (
                    format!(" in {} processes", ranks.count()),
                    " of the first process",
                ),
                None => (String::new(), ""),
            };
            let statistics = match plan.config.sync_batch_norm {
                true => ", and batch norm over all of them",
                false => "",
            };
            let gradients = match (ranks, plan.config.gradients) {
                (Some(_), Precision::F16) => ", and gradients sent in half precision",
                _ => "",
            };
            format!(
                "devices: {replicas}{processes}, with {} images of a batch{statistics}{gradients}; \
                 memory on each{first}: {}",
                shares.join(", "),
                own.join(", ")
            )
        }
    });
    device.say(&format!("run directory: {}", printable_path(run.path())));
    if let Start::Saved(snapshot, _) = &plan.start {
        let position = &snapshot.position;
        device.say(&format!(
            "resuming at epoch {}, step {}",
            position.epoch, position.step
        ));
    }
}

/// Options, each after a comma.
fn more(options: Vec<String>) -> String {
    let options = options.into_iter();
    options.map(|option| format!(", {option}")).collect()
}

/// How the learning rate changes.
fn schedule(recipe: &Recipe) -> String {
    let warmup = match recipe.warmup {
        0 => String::new(),
        epochs => format!(" after a warm-up of {epochs} epochs"),
    };
    let change = match recipe.schedule {
        Schedule::Step => format!(" dropping at {:?}", recipe.milestones),
        Schedule::Cosine => " falling to 0 as a cosine".to_owned(),
        Schedule::Polynomial => format!(" falling to 0 with power {}", recipe.power),
    };
    warmup + &change
}
