//! `pyr-wgpu train`: starts a run from flags, or resumes one from its directory.

mod args;
mod config;
mod driver;
mod resume;
mod retry;

use std::path::Path;
use std::time::{Duration, Instant};

pub(super) use args::Args;

use super::device::DeviceArgs;
use super::error::CliError;
use super::fitting::fitting;
use super::signals::Signals;
use super::tuning::complete;
use crate::data::{self, DataError, Dataset, DatasetKind};
use crate::engine::{Device, EngineError, Tuner};
use crate::graph::Graph;
use crate::kernels::Choices;
use crate::memory::bytes;
use crate::model::{Description, Network, Preprocessing, crop_padding};
use crate::run::{Config, DataRecord, Environment, RunDirectory, SavedState};
use crate::text::{name_of, printable_path};
use crate::train::{
    Best, Options, SaveInterval, Session, SessionOptions, Snapshot, TrainError, Trainer,
};
use config::{Allowed, new_config, resumed_config};
use driver::{Recorder, drive};
use resume::{end, load};
use retry::with_retries;

/// Everything that is decided before the first step.
struct Plan {
    config: Config,
    network: Network,
    description: Description,
    dataset: Dataset,
    data: DataRecord,
    /// The state to resume from, if any.
    start: Option<(Snapshot, Option<Best>)>,
}

/// What one attempt to train leaves for the next.
#[derive(Default)]
struct Progress {
    /// The directory of the run, once it has begun.
    directory: Option<RunDirectory>,
    signals: Option<Signals>,
}

/// Trains.
///
/// # Errors
/// See [`CliError`]; what was saved is kept in every case.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    args.device.check()?;
    let allowed = Allowed::new(&args)?;
    let mut progress = Progress::default();
    if let Some(path) = &args.files.resume {
        progress.directory = Some(RunDirectory::resume(path)?);
    }
    with_retries(
        args.files.retry,
        &mut progress,
        |progress| {
            let config = match &progress.directory {
                Some(run) => resumed_config(&args, &allowed, run)?,
                None => new_config(&args)?,
            };
            attempt(&args, &allowed, config, progress)
        },
        |progress| progress.signals.as_ref()?.asked(),
    )
}

/// Trains until the end of the run, or until something ends it early.
fn attempt(
    args: &Args,
    allowed: &Allowed<'_>,
    config: Config,
    Progress { directory, signals }: &mut Progress,
) -> Result<(), CliError> {
    let say = |text: &str| args.device.say(text);
    let state = match directory {
        Some(run) => load(run, &config, &args.device)?,
        None => None,
    };
    if let (Some(run), Some(state)) = (&*directory, &state)
        && state.progress.position.epoch > config.recipe.epochs
    {
        return end(run, &config, state, &args.device);
    }
    let plan = prepare(args, allowed, config, state)?;
    for note in &plan.dataset.notes {
        say(&format!("note: {note}"));
    }
    let recorded = match (&args.files.choices, &*directory) {
        (Some(other), _) => Some(chosen(other)?),
        (None, Some(run)) => match run.choices()? {
            None if plan.start.is_some() => {
                return Err(CliError::Checkpoint(format!(
                    "{} has no choices.json, without which the results would differ; restore it, \
                     or copy that of a run with the same kernels",
                    printable_path(run.path())
                )));
            }
            choices => choices,
        },
        (None, None) => None,
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
    let device = match directory {
        Some(run) => args.device.open_again(run.device()?.as_deref())?,
        None => args.device.open()?,
    };
    // A resumed run keeps its kernels, so that its results are bit-identical.
    let mut tuner = match (&*directory, &recorded) {
        (Some(_), Some(_)) => Tuner::default(),
        _ => args.tune.tuner(),
    };
    let choices = recorded.unwrap_or_default();
    let trainer = build(&plan, &device, args, |graphs| {
        complete(&mut tuner, &device, graphs, &choices, &args.device)
    })?;
    let run = match directory {
        Some(run) => run,
        None => {
            let name = args.network.preset.as_deref().unwrap_or("run");
            let name = match args.network.any() {
                true => name,
                false => "demo",
            };
            let name = format!("{name}-{}", plan.config.dataset);
            directory.insert(RunDirectory::create(args.files.run_dir.as_deref(), &name)?)
        }
    };
    match plan.start {
        Some(_) => run.update_config(&plan.config)?,
        None => {
            let environment = Environment::new(&device);
            let choices = trainer.engine().choices();
            let classes = &plan.description.classes;
            run.begin(&plan.config, &environment, choices, classes)?;
        }
    }
    run.forget_from(trainer.position().epoch)?;
    if let Some(error) = run.unlocked() {
        say(&format!(
            "warning: {} cannot be locked ({error}); start no second process on it",
            printable_path(run.path())
        ));
    }
    introduce(&plan, &trainer, run, &args.device);
    let signals = match signals {
        Some(signals) => signals,
        None => signals.insert(Signals::install()?),
    };
    let options = SessionOptions {
        run: Some(name_of(run.path().as_os_str())),
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
    let recorder = Recorder::new(&plan, run, &args.device, signals, args.files.json);
    drive(session, recorder)
}

/// The kernels of another run.
fn chosen(path: &Path) -> Result<Choices, CliError> {
    let choices = RunDirectory::open(path)?.choices()?;
    choices.ok_or_else(|| {
        CliError::Checkpoint(format!(
            "{} has no choices.json; give the directory of a run that has begun to train",
            printable_path(path)
        ))
    })
}

/// Opens the dataset, and checks it against the state of a resumed run.
fn prepare(
    args: &Args,
    allowed: &Allowed<'_>,
    mut config: Config,
    state: Option<SavedState>,
) -> Result<Plan, CliError> {
    let kind: DatasetKind = config.dataset.parse()?;
    let resize = match &state {
        Some(state) => state.description.preprocessing.resize,
        None => config.network.resize(),
    };
    let opened = data::open(&data::Request {
        kind,
        dir: config.data.clone(),
        resize,
        need_train: true,
    });
    let dataset = match opened {
        Err(error @ DataError::MissingDirectory { .. }) if state.is_some() => {
            return Err(CliError::Data(format!(
                "{error}; if the data has moved, say where to: --data DIR --allow data"
            )));
        }
        opened => opened?,
    };
    let train = dataset.train.as_ref().expect("it was requested");
    let data = DataRecord {
        test_images: dataset.test.len(),
        fingerprints: [
            data::fingerprint(&**train)?,
            data::fingerprint(&*dataset.test)?,
        ],
    };
    let (start, description) = match state {
        Some(state) => {
            let (snapshot, notes) = resume::check(&config, allowed, &dataset, &data, &state)?;
            notes.iter().for_each(|note| args.device.say(note));
            (Some((snapshot, state.progress.best)), state.description)
        }
        None => {
            let classes = dataset.classes.len() as u32;
            if let Some(wanted) = args.network.classes.filter(|wanted| *wanted != classes) {
                return Err(CliError::Usage(format!(
                    "--classes is {wanted}, but the dataset has {classes} classes; leave the flag \
                     out"
                )));
            }
            config.network.classes = classes;
            config.network.validate()?;
            let preprocessing = Preprocessing::new(&config.network, dataset.mean, dataset.std);
            let description = Description {
                network: config.network.clone(),
                classes: dataset.classes.clone(),
                preprocessing,
            };
            (None, description)
        }
    };
    let network = Network::new(&config.network)?;
    Ok(Plan {
        config,
        network,
        description,
        dataset,
        data,
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
    let trainer = Trainer::new(
        device,
        plan.network.clone(),
        options.clone(),
        train.clone(),
        test.clone(),
        choose,
    );
    let mut trainer = trainer.map_err(|error| {
        let graphs = |options: &_| Trainer::graphs(device, &plan.network, options, &train, &test);
        too_large(device, &options, train.len(), graphs, error)
    })?;
    let snapshot = match &plan.start {
        Some((snapshot, _)) => snapshot.clone(),
        None => Snapshot::initial(&plan.network, plan.config.seed),
    };
    trainer.restore(&snapshot);
    Ok(trainer)
}

/// Adds the largest micro-batch that fits to an error about the device's limits. `graphs` are those
/// of a run with some options.
fn too_large(
    device: &Device,
    options: &Options,
    images: usize,
    graphs: impl Fn(&Options) -> Result<Vec<Graph>, TrainError>,
    error: TrainError,
) -> CliError {
    let TrainError::Engine(error) = error else {
        return error.into();
    };
    let batch = options.recipe.batch_size.min(images);
    let now = options.micro_batch.unwrap_or(batch);
    fitting(error, device, "--micro-batch", now, |batch| {
        graphs(&Options {
            micro_batch: Some(batch),
            ..options.clone()
        })
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
    device.say(&format!("run directory: {}", printable_path(run.path())));
    if let Some((snapshot, _)) = &plan.start {
        let position = &snapshot.position;
        device.say(&format!(
            "resuming at epoch {}, step {}",
            position.epoch, position.step
        ));
    }
}
