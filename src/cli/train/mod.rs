//! `pyr-wgpu train`: starts a run from flags, or resumes one from its directory.

mod args;
mod config;
mod driver;

use std::time::{Duration, Instant};

pub(super) use args::Args;

use super::device::DeviceArgs;
use super::devices::bytes;
use super::error::CliError;
use super::fitting::fitting;
use super::signals::Signals;
use super::tuning::complete;
use crate::data::{self, Dataset, DatasetKind};
use crate::engine::{Device, EngineError, Tuner};
use crate::graph::Graph;
use crate::kernels::Choices;
use crate::model::{Description, Network, Preprocessing, crop_padding, names};
use crate::run::{Config, Environment, RunDirectory};
use crate::train::{
    Best, InputPipeline, Mode, Options, SaveInterval, Session, SessionOptions, Snapshot,
    TrainError, Trainer, step_graph,
};
use config::{check_recipe, new_config, resumed_config};
use driver::{Recorder, drive};

/// Everything that is decided before the first step.
struct Plan {
    config: Config,
    network: Network,
    description: Description,
    dataset: Dataset,
    /// The state to resume from, if any.
    start: Option<(Snapshot, Option<Best>)>,
}

/// Trains.
///
/// # Errors
/// See [`CliError`]; what was saved is kept in every case.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let say = |text: &str| args.device.say(text);
    let resumed = match &args.files.resume {
        Some(path) => Some(RunDirectory::open(path)?),
        None => None,
    };
    let config = match &resumed {
        Some(run) => resumed_config(&args, run)?,
        None => new_config(&args)?,
    };
    check_recipe(&config)?;
    let plan = prepare(config, resumed.as_ref())?;
    for note in &plan.dataset.notes {
        say(&format!("note: {note}"));
    }
    let choices = match (&args.files.choices, &resumed) {
        (Some(other), _) => RunDirectory::open(other)?.choices()?,
        (None, Some(run)) => run.choices()?,
        (None, None) => Choices::default(),
    };
    if plan.config.recipe.never_drops() && plan.config.recipe.epochs > 1 {
        let proposed = plan.config.recipe.proposed_milestones();
        let list: Vec<String> = proposed.iter().map(u32::to_string).collect();
        say(&format!(
            "warning: no milestone lies within {} epochs, so the learning rate never drops; \
             consider --milestones {}",
            plan.config.recipe.epochs,
            list.join(",")
        ));
    }
    let recorded = resumed.as_ref().and_then(RunDirectory::device);
    let device = args.device.open_again(recorded.as_deref())?;
    // A resumed run keeps its kernels, so that its results are bit-identical.
    let mut tuner = match resumed {
        Some(_) => Tuner::default(),
        None => args.tune.tuner(),
    };
    let trainer = build(&plan, &device, &args, |graphs| {
        complete(&mut tuner, &device, graphs, &choices, &args.device)
    })?;
    let run = match resumed {
        Some(run) => {
            run.forget_from(trainer.position().epoch)?;
            run
        }
        None => {
            let name = args.network.preset.as_deref().unwrap_or("run");
            let name = match args.network.any() {
                true => name,
                false => "demo",
            };
            let name = format!("{name}-{}", plan.config.dataset);
            RunDirectory::create(args.files.run_dir.as_deref(), &name)?
        }
    };
    let environment = Environment::new(&device);
    match args.files.resume {
        None => {
            let classes = &plan.description.classes;
            run.begin(
                &plan.config,
                &environment,
                trainer.engine().choices(),
                classes,
            )?;
        }
        Some(_) => run.update_config(&plan.config)?,
    }
    introduce(&plan, &trainer, &run, &args.device);
    let signals = Signals::install()?;
    let options = SessionOptions {
        run: Some(run.path().display().to_string()),
        save: args.files.checkpoint_every.unwrap_or(SaveInterval::Epoch),
        interval: Duration::from_secs(1),
        max_steps: u32::MAX,
    };
    let start = Instant::now();
    let clock = Box::new(move || start.elapsed());
    let session = match &plan.start {
        Some((_, best)) => Session::resume(trainer, *best, options, clock),
        None => Session::start(trainer, options, clock),
    };
    let recorder = Recorder::new(&plan, &run, &args.device, args.files.json);
    drive(session, recorder, &signals)
}

/// Opens the dataset and, for a resumed run, its state.
fn prepare(mut config: Config, resumed: Option<&RunDirectory>) -> Result<Plan, CliError> {
    let kind: DatasetKind = config.dataset.parse()?;
    let loaded = match resumed {
        Some(run) => {
            let loaded = run.load(&Network::new(&config.network)?)?;
            if loaded.0.position.epoch > config.recipe.epochs {
                return Err(CliError::Usage(format!(
                    "{} has completed all of its {} epochs; to continue, raise --epochs",
                    run.path().display(),
                    config.recipe.epochs
                )));
            }
            Some(loaded)
        }
        None => None,
    };
    let resize = match &loaded {
        Some((.., description)) => description.preprocessing.resize,
        None => config.network.resize(),
    };
    let dataset = data::open(&data::Request {
        kind,
        dir: config.data.clone(),
        resize,
        need_train: true,
    })?;
    let classes = dataset.classes.len() as u32;
    if loaded.is_none() {
        config.network.classes = classes;
        config.network.validate()?;
    }
    if config.network.classes != classes {
        return Err(CliError::Data(format!(
            "the dataset has {classes} classes, the network {}; was the run started on another \
             dataset?",
            config.network.classes
        )));
    }
    let network = Network::new(&config.network)?;
    let (start, description) = match loaded {
        Some((snapshot, best, description)) => (Some((snapshot, best)), description),
        None => {
            let preprocessing = Preprocessing::new(&config.network, dataset.mean, dataset.std);
            let description = Description {
                network: config.network.clone(),
                classes: dataset.classes.clone(),
                preprocessing,
            };
            (None, description)
        }
    };
    Ok(Plan {
        config,
        network,
        description,
        dataset,
        start,
    })
}

fn build(
    plan: &Plan,
    device: &Device,
    args: &Args,
    choose: impl FnOnce(&[Graph]) -> Result<Choices, EngineError>,
) -> Result<Trainer, CliError> {
    let options = Options {
        recipe: plan.config.recipe.clone(),
        micro_batch: plan.config.micro_batch,
        seed: plan.config.seed,
        passes: plan.config.passes(),
        workers: args.data.workers,
        preprocessing: plan.description.preprocessing,
    };
    let train = plan.dataset.train.clone();
    let train =
        train.ok_or_else(|| CliError::Data("the dataset has no training part".to_owned()))?;
    let test = plan.dataset.test.clone();
    let inputs = [(&train, names::TRAIN_IMAGES), (&test, names::EVAL_IMAGES)];
    let inputs = inputs.map(|(source, name)| InputPipeline::new(source.clone(), name, device, 1));
    let mut trainer = Trainer::new(device, plan.network.clone(), options, train, test, choose)
        .map_err(|error| too_large(plan, device, inputs, error))?;
    let snapshot = match &plan.start {
        Some((snapshot, _)) => snapshot.clone(),
        None => Snapshot::initial(&plan.network, plan.config.seed),
    };
    trainer.restore(&snapshot);
    Ok(trainer)
}

/// Adds the largest micro-batch that fits to an error about the device's limits.
fn too_large(
    plan: &Plan,
    device: &Device,
    [train, test]: [InputPipeline; 2],
    error: TrainError,
) -> CliError {
    let TrainError::Engine(error) = error else {
        return error.into();
    };
    let Plan {
        config, network, ..
    } = plan;
    let preprocessing = &plan.description.preprocessing;
    let now = config.recipe.batch_size.min(train.len());
    let now = config.micro_batch.unwrap_or(now);
    fitting(error, device, "--micro-batch", now, |batch| {
        let passes = config.passes();
        let input = train.input(batch, preprocessing, config.recipe.augment);
        let step = step_graph(network, batch, &input, Mode::MicroBatch, passes)?;
        let input = test.input(batch, preprocessing, false);
        let evaluation = step_graph(network, batch, &input, Mode::Evaluate, passes)?;
        Ok(vec![step, evaluation])
    })
}

/// Prints what is about to run.
fn introduce(plan: &Plan, trainer: &Trainer, run: &RunDirectory, device: &DeviceArgs) {
    let counts = plan.network.counts();
    let recipe = &plan.config.recipe;
    device.say(&format!(
        "network: {} ({} parameters, {:.1} MMAC per image)",
        plan.config.network,
        counts.parameters,
        counts.macs as f64 / 1e6
    ));
    let padding = crop_padding(plan.config.network.image_size as usize);
    let augment = match recipe.augment {
        true => format!("flip and crop after padding by {padding}"),
        false => "no augmentation".to_owned(),
    };
    device.say(&format!(
        "data: {}, {} training and {} test images, {augment}",
        plan.config.dataset,
        trainer.images_per_epoch(),
        plan.dataset.test.len()
    ));
    let micro = plan
        .config
        .micro_batch
        .map(|m| format!(" in micro-batches of {m}"));
    device.say(&format!(
        "recipe: {} epochs, batch {}{}, learning rate {} dropping at {:?}, momentum {}, weight \
         decay {}, seed {}",
        recipe.epochs,
        recipe.batch_size,
        micro.unwrap_or_default(),
        recipe.learning_rate,
        recipe.milestones,
        recipe.momentum,
        recipe.weight_decay,
        plan.config.seed
    ));
    device.say(&format!(
        "memory: {} on the device",
        bytes(trainer.engine().bytes())
    ));
    device.say(&format!("run directory: {}", run.path().display()));
    if let Some((snapshot, _)) = &plan.start {
        let position = &snapshot.position;
        device.say(&format!(
            "resuming at epoch {}, step {}",
            position.epoch, position.step
        ));
    }
}
