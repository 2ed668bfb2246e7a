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
mod ranks;
mod recorded;
mod resume;
mod retry;
mod shares;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) use args::Args;

use super::error::CliError;
use super::fitting::{SMALLER, fitting};
use super::output::print_line;
use super::processors;
use super::signals::Signals;
use crate::data::{DatasetKind, Source, shapes};
use crate::engine::{Device, Engine, EngineError};
use crate::graph::Graph;
use crate::kernels::Choices;
use crate::memory::check_per_process;
use crate::ranks::Ranks;
use crate::run::{Config, Environment, RecordedDevice, RunDirectory, SavedState};
use crate::text::{name_of, printable_path};
use crate::train::{Options, SaveInterval, Session, SessionOptions, Snapshot, TrainError, Trainer};
use config::{Allowed, new_config};
use driver::{Recorder, drive};
use introduction::introduce;
use plan::{Plan, Start, prepare};
use ranks::leads;
use recorded::{Recorded, Used, choose};
use resume::{check_records, complete, end, load};
use retry::with_retries;

/// What one attempt to train leaves for the next; on several ranks there is one attempt.
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
    match ranks::launch(&args)? {
        None => train(args, None),
        Some(ranks) => {
            let result = train(args, Some(&ranks));
            ranks::end(&ranks, result)
        }
    }
}

/// Trains, on one of several ranks if there are any.
fn train(args: Args, ranks: Option<&Ranks>) -> Result<(), CliError> {
    let mut args = config_file::read(args)?;
    args.check()?;
    memory::check(&args)?;
    if args.files.print_config {
        return match leads(ranks) {
            true => print_config(&args),
            false => Ok(()),
        };
    }
    if let Some(ranks) = ranks {
        ranks::greet(ranks, &args)?;
        args.device.follower = Some(ranks.rank()).filter(|rank| *rank > 0);
    }
    let args = &args;
    let allowed = Allowed::new(args)?;
    let mut progress = Progress::default();
    if let Some(path) = &args.files.resume
        && leads(ranks)
    {
        let run = progress.directory.insert(RunDirectory::resume(path)?);
        let (devices, _) = run.devices()?;
        args.check_device(&args.several.first_adapter(&args.device, &devices))?;
    }
    with_retries(
        args.files.retry,
        &mut progress,
        |progress| attempt(args, &allowed, ranks, progress),
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
    ranks: Option<&Ranks>,
    Progress {
        directory,
        config: decided,
        signals,
    }: &mut Progress,
) -> Result<(), CliError> {
    let is_resumed = directory.is_some() || args.files.resume.is_some();
    let (config, state) = match is_resumed {
        true => match resume(args, allowed, ranks, directory.as_ref(), decided.clone())? {
            Some(resumed) => resumed,
            None => return Ok(()),
        },
        false => (new_config(args)?, None),
    };
    let mut plan = prepare(args, allowed, config, is_resumed, state)?;
    ranks::compare(ranks, args, &plan)?;
    if plan.config.shares.is_empty() {
        devices::check_shares(&plan.config, args.several.devices.len())?;
    }
    if leads(ranks) {
        plan.notes.iter().for_each(|note| args.device.say(note));
    }
    *decided = Some(plan.config.clone());
    let recorded = ranks::share(ranks, || Recorded::read(args, &plan, directory.as_ref()))?;
    recorded.check_ranks(allowed, ranks)?;
    let local = ranks.map(Ranks::local_rank).transpose()?;
    let devices = open(args, &plan, &recorded, ranks, local)?;
    let mut limit = None;
    let local_size = local.map_or(1, |(_, count)| count);
    if !is_resumed {
        shares::measure(args, &mut plan, &devices, ranks)?;
        limit = memory::choose(args, &mut plan, &devices, ranks, local_size)?;
        memory::agree(&mut plan, ranks)?;
        *decided = Some(plan.config.clone());
    }
    let placement = (&devices[..], local_size);
    let trainer = build(args, &plan, placement, ranks, is_resumed, &recorded)?;
    memory::check_built(&trainer, limit, local_size)?;
    let used = ranks::gather(ranks, Used::of(&trainer))?;
    let run = match leads(ranks) {
        true => Some(begin(
            args, &plan, used, &recorded, ranks, &trainer, directory,
        )?),
        false => None,
    };
    if let Some(run) = run {
        introduce(&plan, &trainer, run, ranks, &args.device);
    }
    let signals = match signals {
        Some(signals) => signals,
        None => signals.insert(Signals::install()?),
    };
    let save = args.files.checkpoint_every.unwrap_or(SaveInterval::Epoch);
    let options = SessionOptions {
        run: run.map(|run| name_of(run.path().as_os_str())),
        save: match run {
            Some(_) => save,
            None => SaveInterval::Never,
        },
        interval: Duration::from_secs(1),
        max_steps: u32::MAX,
    };
    let start = Instant::now();
    let clock = Box::new(move || start.elapsed());
    let session = match &plan.start {
        Start::Saved(_, progress) => Session::resume(trainer, progress.best, options, clock),
        Start::Random | Start::Weights(_) => Session::start(trainer, options, clock),
    };
    match run {
        Some(run) => {
            let (json, processes) = (args.files.json, ranks.map_or(1, Ranks::count));
            let recorder = Recorder::new(&plan, run, &args.device, signals, json, processes);
            drive(session, recorder)
        }
        None => ranks::follow(session, &plan, signals, &args.device),
    }
}

/// Opens the devices of this process.
fn open(
    args: &Args,
    plan: &Plan,
    recorded: &Recorded,
    ranks: Option<&Ranks>,
    local: Option<(usize, usize)>,
) -> Result<Vec<Device>, CliError> {
    let flags = match recorded.choices.iter().any(Choices::need_matrices) {
        true => args.device.with_matrix_units(),
        false => args.device.clone(),
    };
    let devices = args
        .several
        .open(&flags, recorded.devices_of(ranks), local)?;
    if let Some(ranks) = ranks {
        ranks.set_replicas(devices.len())?;
    }
    let all = ranks::gather(ranks, devices.iter().map(RecordedDevice::of).collect())?;
    if let Some(note) = devices::changed(&recorded.devices, &all).filter(|_| leads(ranks)) {
        args.device.say(&note);
    }
    let replicas = Trainer::replicas(&devices, ranks);
    devices::check_shares(&plan.config, replicas)?;
    devices::check_synchronized(&args.several, replicas)?;
    if let Some(note) = devices::check_gradients(&args.several, &plan.config, ranks)? {
        args.device.say(note);
    }
    shares::check(args, replicas)?;
    if let [device] = &devices[..] {
        args.check_device(&args.device.opened(device))?;
    }
    Ok(devices)
}

/// The configuration and the state with which a run resumes, on all ranks; `None` if the run has
/// ended. Only rank 0 has its directory.
fn resume(
    args: &Args,
    allowed: &Allowed<'_>,
    ranks: Option<&Ranks>,
    directory: Option<&RunDirectory>,
    decided: Option<Config>,
) -> Result<Option<(Config, Option<SavedState>)>, CliError> {
    let mut loaded = None;
    let (config, best, has_ended) = ranks::share(ranks, || {
        let run = directory.expect("rank 0 has the directory");
        let (config, mut state) = load(run, args, allowed, decided)?;
        let mut has_ended = false;
        if let Some(state) = &mut state {
            let position = &state.progress.position;
            let best = state.progress.best.map(|best| best.epoch);
            has_ended = position.step == 0 && config.recipe.is_over(position.epoch - 1, best);
            check_records(run, state, has_ended, &args.device)?;
            if has_ended {
                let saved = (&state.snapshot, &state.progress);
                let network = config.network()?;
                complete(run, &network, &state.description, saved, &args.device)?;
                end(run, &config, state, &args.device, args.files.json)?;
            }
        }
        let best = state.as_ref().and_then(|state| state.progress.best);
        loaded = Some((config.clone(), state));
        Ok((config, best, has_ended))
    })?;
    if has_ended {
        return Ok(None);
    }
    let Some(ranks) = ranks else {
        return Ok(loaded);
    };
    // The other ranks need not see the directory.
    let bytes = match (directory, &loaded) {
        (Some(run), Some((_, Some(_)))) => run.state_bytes()?,
        _ => Vec::new(),
    };
    let bytes = ranks.broadcast(&bytes)?;
    if loaded.is_some() {
        return Ok(loaded);
    }
    let mut state = None;
    if !bytes.is_empty() {
        let state = state.insert(SavedState::from_bytes(&bytes, &config.network()?)?);
        state.progress.best = best;
    }
    Ok(Some((config, state)))
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
        shares: config.shares.clone(),
        sync_batch_norm: config.sync_batch_norm,
        gradients: config.gradients,
        seed: config.seed,
        passes: config.passes(),
        workers: args.data.workers.unwrap_or_else(processors),
        preprocessing: plan.description.preprocessing,
    }
}

/// Builds the trainer, at the start of the run or where it was saved, on devices such as `local_size`
/// processes of the run on this machine have.
fn build(
    args: &Args,
    plan: &Plan,
    (devices, local_size): (&[Device], usize),
    ranks: Option<&Ranks>,
    is_resumed: bool,
    recorded: &Recorded,
) -> Result<Trainer, CliError> {
    let options = options(args, &plan.config, plan);
    let [train, test] = sources(plan)?;
    let network = &plan.network;
    let graphs = |options: &_| Trainer::graphs(devices, ranks, network, options, train, test);
    let trainer = graphs(&options).and_then(|graphs| {
        // A replica is built without knowing of the others.
        if devices.len() * local_size > 1 {
            let needed = Engine::host_memory_needed(devices, &graphs)?;
            check_per_process(needed, local_size).map_err(EngineError::Memory)?;
        }
        let choices = choose(args, devices, ranks, is_resumed, recorded, &graphs)?;
        let mut choices = choices.into_iter();
        Trainer::new(
            devices,
            ranks,
            network.clone(),
            options.clone(),
            Arc::clone(train),
            Arc::clone(test),
            |_, _| Ok(choices.next().expect("a table for each device")),
        )
    });
    let mut trainer = trainer.map_err(|error| {
        let replicas = Trainer::replicas(devices, ranks);
        let batch = options.recipe.batch_size.min(train.len());
        let share = devices::largest_share(&plan.config, batch, replicas);
        too_large((devices, local_size), &options, share, graphs, error)
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

/// Adds the largest micro-batch that fits to an error about the limits of devices such as `processes`
/// processes on this machine have. `share` is the largest share of a batch, and `graphs` are those of a
/// run with some options.
fn too_large(
    (devices, processes): (&[Device], usize),
    options: &Options,
    share: usize,
    graphs: impl Fn(&Options) -> Result<Vec<Graph>, TrainError>,
    error: TrainError,
) -> CliError {
    let TrainError::Engine(error) = error else {
        return error.into();
    };
    let now = options.micro_batch.unwrap_or(share);
    let fewer = match (&error, devices.len(), processes) {
        (EngineError::Memory(_), _, 2..) => "fewer processes on this machine, or ",
        (EngineError::Memory(_), 2.., _) => "fewer devices, or ",
        _ => "",
    };
    let otherwise = format!("{fewer}{SMALLER}");
    fitting(
        error,
        (devices, processes),
        ("--micro-batch", &otherwise),
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
    used: Vec<Used>,
    recorded: &Recorded,
    ranks: Option<&Ranks>,
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
    let (devices, choices) = used
        .into_iter()
        .map(|used| (used.device, used.choices))
        .unzip();
    let choices: Vec<Choices> = choices;
    let counts = ranks.map(Ranks::replicas).unwrap_or_default();
    let is_divided = counts.len().max(1) != recorded.ranks.len().max(1);
    let environment = Environment::new(devices, counts);
    let classes = &plan.description.classes;
    let mut notes = match &plan.start {
        Start::Saved(snapshot, progress) => {
            let saved = (snapshot, &**progress);
            complete(run, &plan.network, &plan.description, saved, &args.device)?;
            // Another number of ranks was allowed.
            let choices = is_divided.then_some(&choices[..]);
            run.begin_again(&plan.config, &environment, choices, classes)?
        }
        Start::Random | Start::Weights(_) => {
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
