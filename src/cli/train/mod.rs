//! `pyr-wgpu train`: starts a run from flags, or resumes one from its directory.

mod args;
mod config;
mod config_file;
mod devices;
mod driver;
mod fine_tune;
mod introduction;
mod limits;
mod memory;
mod plan;
mod resume;
mod retry;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use args::Args;

use super::error::CliError;
use super::fitting::{SMALLER, fitting};
use super::output::print_line;
use super::signals::Signals;
use super::tuning::{Tune, complete};
use crate::data::{DatasetKind, Source, shapes};
use crate::engine::{Device, Engine, EngineError, Tuner};
use crate::graph::Graph;
use crate::kernels::Choices;
use crate::run::{Config, Environment, RecordedDevice, RunDirectory};
use crate::text::{name_of, printable_path};
use crate::train::{Options, SaveInterval, Session, SessionOptions, Snapshot, TrainError, Trainer};
use config::{Allowed, new_config};
use driver::{Recorder, drive};
use introduction::introduce;
use plan::{Plan, Start, prepare};
use resume::{complete_save, end, load};
use retry::with_retries;

/// What one attempt to train leaves for the next.
#[derive(Default)]
struct Progress {
    /// The directory of the run, once it has begun.
    directory: Option<RunDirectory>,
    /// What the flags and the files of the run have led to.
    config: Option<Config>,
    signals: Option<Signals>,
}

/// Trains.
///
/// # Errors
/// See [`CliError`]; what was saved is kept in every case.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let args = config_file::read(args)?;
    args.check()?;
    memory::check(&args)?;
    if args.files.print_config {
        return print_config(&args);
    }
    let allowed = Allowed::new(&args)?;
    let mut progress = Progress::default();
    if let Some(path) = &args.files.resume {
        let run = progress.directory.insert(RunDirectory::resume(path)?);
        let devices = run.devices()?;
        args.check_device(&args.several.first_adapter(&args.device, &devices))?;
    }
    with_retries(
        args.files.retry,
        &mut progress,
        |progress| attempt(&args, &allowed, progress),
        |progress| progress.signals.as_ref()?.asked(),
    )
}

/// Prints the configuration of a new run. The number of classes of a folder is known only when it is
/// opened.
fn print_config(args: &Args) -> Result<(), CliError> {
    let mut config = new_config(args)?;
    let kind: DatasetKind = config.dataset.parse()?;
    let classes = match kind {
        DatasetKind::Shapes => Some(shapes::CLASSES.len()),
        _ => kind.manifest().published.map(|files| files.classes.len()),
    };
    if let Some(classes) = classes {
        config.network.classes = classes as u32;
    }
    print_line(config.to_toml().trim_end())
}

/// Trains until the end of the run, or until something ends it early.
fn attempt(
    args: &Args,
    allowed: &Allowed<'_>,
    Progress {
        directory,
        config: decided,
        signals,
    }: &mut Progress,
) -> Result<(), CliError> {
    let (config, mut state) = match directory {
        Some(run) => load(run, args, allowed, decided.clone())?,
        None => (new_config(args)?, None),
    };
    if let (Some(run), Some(state)) = (&*directory, &mut state) {
        let position = &state.progress.position;
        let best = state.progress.best.map(|best| best.epoch);
        let has_ended = position.step == 0 && config.recipe.is_over(position.epoch - 1, best);
        complete_save(run, state, has_ended, &args.device)?;
        if has_ended {
            return end(run, &config, state, &args.device, args.files.json);
        }
    }
    let mut plan = prepare(args, allowed, config, directory.is_some(), state)?;
    devices::check_shares(&plan.config, args.several.devices.len())?;
    plan.notes.iter().for_each(|note| args.device.say(note));
    *decided = Some(plan.config.clone());
    let recorded = recorded_choices(args, &plan, directory.as_ref())?;
    let need_matrices = |all: &Vec<Choices>| all.iter().any(Choices::need_matrices);
    let flags = match recorded.as_ref().is_some_and(need_matrices) {
        true => args.device.with_matrix_units(),
        false => args.device.clone(),
    };
    let began = match directory {
        Some(run) => run.devices()?,
        None => Vec::new(),
    };
    let devices = args.several.open(&flags, &began)?;
    devices::check_shares(&plan.config, devices.len())?;
    if let [device] = &devices[..] {
        args.check_device(&args.device.opened(device))?;
    }
    let mut limit = None;
    if directory.is_none() {
        limit = memory::choose(args, &mut plan, &devices)?;
        *decided = Some(plan.config.clone());
    }
    let recorded = recorded.map(|choices| Recorded {
        choices,
        devices: began,
    });
    let trainer = build(args, &plan, &devices, directory.is_some(), recorded)?;
    memory::check_built(&trainer, limit)?;
    let run = begin(args, &plan, &devices, &trainer, directory)?;
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
        Start::Saved(_, best) => Session::resume(trainer, *best, options, clock),
        Start::Random | Start::Weights(_) => Session::start(trainer, options, clock),
    };
    let recorder = Recorder::new(&plan, run, &args.device, signals, args.files.json);
    drive(session, recorder)
}

/// The kernels that are decided before the devices are opened, one table for each: those that the run
/// has recorded, else those of `--choices`.
fn recorded_choices(
    args: &Args,
    plan: &Plan,
    directory: Option<&RunDirectory>,
) -> Result<Option<Vec<Choices>>, CliError> {
    let own = match directory {
        Some(run) => run.choices()?,
        None => None,
    };
    let missing = |path: &Path, advice: &str| {
        let path = printable_path(path);
        CliError::Checkpoint(format!("{path} has no choices.json; {advice}"))
    };
    match (own, &args.files.choices, directory) {
        (Some(own), ..) => Ok(Some(own)),
        (None, Some(other), _) => match RunDirectory::open(other)?.choices()? {
            None => Err(missing(
                other,
                "give the directory of a run that has begun to train",
            )),
            choices => Ok(choices),
        },
        (None, None, Some(run)) if plan.start.is_saved() => Err(missing(
            run.path(),
            "without it the results would differ; restore it, or copy that of a run with the same \
             kernels",
        )),
        (None, None, _) => Ok(None),
    }
}

/// The images of a run: for training and for testing.
fn sources(plan: &Plan) -> Result<[&Arc<dyn Source>; 2], CliError> {
    let train = plan.dataset.train.as_ref();
    let train =
        train.ok_or_else(|| CliError::Data("the dataset has no training part".to_owned()))?;
    Ok([train, &plan.dataset.test])
}

/// The options of a run with a configuration.
fn options(args: &Args, config: &Config, plan: &Plan) -> Options {
    Options {
        recipe: config.recipe.clone(),
        micro_batch: config.micro_batch,
        seed: config.seed,
        passes: config.passes(),
        workers: args.data.workers,
        preprocessing: plan.description.preprocessing,
    }
}

/// Kernels that are decided before the devices are opened, one table for each of some devices.
#[derive(Default)]
struct Recorded {
    choices: Vec<Choices>,
    devices: Vec<RecordedDevice>,
}

impl Recorded {
    /// The table of a device; a device that was not there has that of the first.
    fn of(&self, device: &Device) -> Choices {
        let own = RecordedDevice::of(device);
        let at = self.devices.iter().position(|other| *other == own);
        let own = at.and_then(|at| self.choices.get(at));
        own.or(self.choices.first()).cloned().unwrap_or_default()
    }
}

/// Builds the trainer, at the start of the run or where it was saved.
fn build(
    args: &Args,
    plan: &Plan,
    devices: &[Device],
    is_resumed: bool,
    recorded: Option<Recorded>,
) -> Result<Trainer, CliError> {
    let options = options(args, &plan.config, plan);
    let [train, test] = sources(plan)?;
    // A resumed run keeps its kernels, so that its results are bit-identical, unless the shares of
    // its devices have changed.
    let is_equal = |recorded: &Recorded| recorded.devices.len().max(1) == devices.len();
    let mut tuner = match is_resumed && recorded.as_ref().is_some_and(is_equal) {
        true => Tuner::default(),
        false => args.tune.tuner(Tune::On),
    };
    let recorded = recorded.unwrap_or_default();
    let choose = |device: &Device, graphs: &[Graph]| -> Result<Choices, EngineError> {
        let own = recorded.of(device);
        complete(&mut tuner, device, graphs, &own, &args.device)
    };
    let trainer = Trainer::new(
        devices,
        plan.network.clone(),
        options.clone(),
        Arc::clone(train),
        Arc::clone(test),
        choose,
    );
    let mut trainer = trainer.map_err(|error| {
        let graphs = |options: &_| Trainer::graphs(devices, &plan.network, options, train, test);
        too_large(devices, &options, train.len(), graphs, error)
    })?;
    if let (Some(other), false) = (&args.files.choices, is_resumed) {
        let used: Vec<&Choices> = trainer.engines().map(Engine::choices).collect();
        let mut rows = recorded.choices.iter().flat_map(Choices::iter);
        let is_used = |(layer, kernel)| used.iter().any(|used| used.get(layer) == Some(kernel));
        if !rows.any(is_used) {
            return Err(CliError::Usage(format!(
                "--choices {}: none of its kernels is for this network on this device; name a run \
                 of this network on such an adapter, or leave the flag out",
                printable_path(other)
            )));
        }
    }
    let snapshot = match &plan.start {
        Start::Saved(snapshot, _) | Start::Weights(snapshot) => snapshot.clone(),
        Start::Random => Snapshot::initial(&plan.network, plan.config.seed),
    };
    trainer.restore(&snapshot);
    Ok(trainer)
}

/// Adds the largest micro-batch that fits to an error about the device's limits. `graphs` are those
/// of a run with some options.
fn too_large(
    devices: &[Device],
    options: &Options,
    images: usize,
    graphs: impl Fn(&Options) -> Result<Vec<Graph>, TrainError>,
    error: TrainError,
) -> CliError {
    let TrainError::Engine(error) = error else {
        return error.into();
    };
    let batch = options.recipe.batch_size.min(images);
    let now = options.micro_batch.unwrap_or(batch.div_ceil(devices.len()));
    fitting(
        error,
        devices,
        ("--micro-batch", SMALLER),
        1..now,
        |batch| {
            let smaller = Options {
                micro_batch: Some(batch),
                ..options.clone()
            };
            graphs(&smaller).ok()
        },
    )
}

/// Creates the directory of a new run, and writes what is known before the first step.
fn begin<'a>(
    args: &Args,
    plan: &Plan,
    devices: &[Device],
    trainer: &Trainer,
    directory: &'a mut Option<RunDirectory>,
) -> Result<&'a RunDirectory, CliError> {
    let say = |text: &str| args.device.say(text);
    let run = match directory {
        Some(run) => run,
        None => {
            let is_named = args.network.any() || args.files.from.is_some() || args.base.is_some();
            let name = match (&args.network.preset, is_named) {
                (Some(preset), _) => preset,
                (None, true) => "run",
                (None, false) => "demo",
            };
            let name = format!("{name}-{}", plan.config.dataset);
            directory.insert(RunDirectory::create(args.files.run_dir.as_deref(), &name)?)
        }
    };
    let environment = Environment::new(devices);
    let classes = &plan.description.classes;
    let mut notes = match plan.start.is_saved() {
        true => run.begin_again(&plan.config, &environment, classes)?,
        false => {
            let choices: Vec<Choices> = trainer.engines().map(|e| e.choices().clone()).collect();
            run.begin(&plan.config, &environment, &choices, classes)?;
            Vec::new()
        }
    };
    let missing = run.forget_from(trainer.position().epoch)?;
    if plan.start.is_saved() {
        notes.extend(missing);
    }
    for note in notes {
        say(&format!("note: {note}"));
    }
    if let Some(error) = run.unlocked() {
        say(&format!(
            "warning: {} cannot be locked ({error}); start no second process on it",
            printable_path(run.path())
        ));
    }
    Ok(run)
}
