//! `pyr-wgpu train`: a run from its flags, or from its directory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use serde_json::json;

use super::device::DeviceArgs;
use super::devices::bytes;
use super::error::CliError;
use super::network::NetworkArgs;
use super::print_json;
use super::progress::{Progress, duration};
use super::signals::Signals;
use crate::data::{self, Dataset, Kind};
use crate::engine::Device;
use crate::kernels::Choices;
use crate::model::{Description, Network, Preprocessing, Stem, crop_padding, initial_values};
use crate::run::{Best, Config, Environment, EpochMetrics, RunDirectory};
use crate::train::{Options, Position, Recipe, Snapshot, Totals, TrainError, Trainer};

/// Arguments of `train`.
#[derive(ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    files: FileArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Which pictures.
#[derive(ClapArgs)]
#[command(next_help_heading = "Data")]
struct DataArgs {
    /// shapes (drawn by the program), cifar10, cifar100 or folder [default: shapes]
    #[arg(long, value_name = "NAME")]
    dataset: Option<Kind>,
    /// Where the dataset's files are
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Threads that prepare batches which do not fit the device
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,
}

/// Optimiser and schedule; defaults come from the dataset.
#[derive(ClapArgs)]
#[command(next_help_heading = "Recipe")]
struct RecipeArgs {
    /// Passes over the training pictures [default: shapes 5, others 300]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Pictures of one step [default: shapes 32, others 128]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Learning rate before the first milestone [default: 0.1, cifar100 0.5]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f32>,
    /// Nesterov momentum [default: 0.9]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    momentum: Option<f32>,
    /// Weight decay of every parameter [default: 0.0001]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    weight_decay: Option<f32>,
    /// Epochs at whose start the rate drops to a tenth [default: shapes 4,5, others 150,225]
    #[arg(long, value_name = "E,E", value_delimiter = ',')]
    milestones: Option<Vec<u32>>,
    /// Pictures that go through the network at once, if fewer than a batch; gradients are
    /// summed, batch norm sees only these
    #[arg(long, value_name = "N")]
    micro_batch: Option<usize>,
    /// No random flip and crop
    #[arg(long)]
    no_augment: bool,
    /// Key of all random numbers [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Where the run lives.
#[derive(ClapArgs)]
#[command(next_help_heading = "Run")]
struct FileArgs {
    /// Directory of the run, new or empty [default: runs/PRESET-DATASET-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    run_dir: Option<PathBuf>,
    /// Continue a run; --epochs may grow
    #[arg(long, value_name = "RUN_DIR")]
    resume: Option<PathBuf>,
    /// With --resume: flags that may differ from the run's, such as --allow lr,milestones
    #[arg(long, value_name = "FLAGS", value_delimiter = ',', requires = "resume")]
    allow: Vec<String>,
    /// Save in the middle of epochs: every N steps, or every so many minutes as in 10m
    #[arg(long, value_name = "N|Nm")]
    checkpoint_every: Option<Every>,
    /// Use the kernels of another run
    #[arg(long, value_name = "RUN_DIR")]
    choices: Option<PathBuf>,
    /// Keep operators apart that could be fused
    #[arg(long)]
    no_fuse: bool,
    /// Print events as JSON lines on stdout
    #[arg(long)]
    json: bool,
}

/// When to save in the middle of an epoch.
#[derive(Clone, Copy, Debug)]
enum Every {
    Steps(u32),
    Time(Duration),
}

impl std::str::FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Every, String> {
        let parsed = match text.strip_suffix('m') {
            Some(minutes) => minutes
                .parse()
                .ok()
                .filter(|m| *m > 0.0 && *m < 1e6)
                .map(|m: f64| Every::Time(Duration::from_secs_f64(60.0 * m))),
            None => text.parse().ok().filter(|n| *n > 0).map(Every::Steps),
        };
        parsed.ok_or_else(|| "give a number of steps, such as 500, or of minutes, as 10m".to_owned())
    }
}

/// Everything that is decided before the first step.
struct Plan {
    config: Config,
    network: Network,
    description: Description,
    dataset: Dataset,
    /// Where to continue, if not at the beginning.
    start: Option<(Snapshot, Option<Best>)>,
}

/// Trains.
///
/// # Errors
/// See [`CliError`]; whatever happens, what was saved stays.
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
    let device = args.device.open()?;
    let mut trainer = build(&plan, &device, &args, &choices)?;
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
    let environment = Environment::new(device.description());
    match args.files.resume {
        None => {
            let classes = &plan.description.classes;
            run.begin(&plan.config, &environment, trainer.engine().choices(), classes)?;
        }
        Some(_) => run.update_config(&plan.config)?,
    }
    introduce(&plan, &trainer, &run, &args.device);
    let signals = Signals::install()?;
    Driver {
        plan: &plan,
        run: &run,
        args: &args,
        best: plan.start.as_ref().and_then(|(_, best)| *best),
        signals,
        saved: Instant::now(),
    }
    .drive(&mut trainer)
}

/// The configuration that the flags describe.
fn new_config(args: &Args) -> Result<Config, CliError> {
    let kind = args.data.dataset.unwrap_or(Kind::Shapes);
    let base = Recipe::for_dataset(kind);
    let flags = &args.recipe;
    Ok(Config {
        dataset: kind.to_string(),
        data: args.data.data.clone(),
        seed: flags.seed.unwrap_or(1),
        micro_batch: flags.micro_batch,
        fuse: !args.files.no_fuse,
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
fn resumed_config(args: &Args, run: &RunDirectory) -> Result<Config, CliError> {
    let mut config = run.config()?;
    let mut changed: Vec<&str> = args.network.changes(&config.network);
    if args.network.preset.is_some() && args.network.resolve(Some(config.network.classes))? != config.network {
        changed.push("--preset");
    }
    let flags = &args.recipe;
    let allowed = |flag: &str| args.files.allow.iter().any(|a| a.trim_start_matches("--") == flag);
    if let Some(epochs) = flags.epochs.filter(|e| *e != config.recipe.epochs) {
        match epochs > config.recipe.epochs || allowed("epochs") {
            true => config.recipe.epochs = epochs,
            false => changed.push("--epochs (it may only grow)"),
        }
    }
    let dataset = args.data.dataset.map(|kind| kind.to_string());
    change(&mut config.dataset, dataset, "--dataset", allowed("dataset"), &mut changed);
    let data = args.data.data.clone().map(Some);
    change(&mut config.data, data, "--data", allowed("data"), &mut changed);
    change(&mut config.seed, flags.seed, "--seed", allowed("seed"), &mut changed);
    let micro = flags.micro_batch.map(Some);
    change(&mut config.micro_batch, micro, "--micro-batch", allowed("micro-batch"), &mut changed);
    let fuse = args.files.no_fuse.then_some(false);
    change(&mut config.fuse, fuse, "--no-fuse", allowed("no-fuse"), &mut changed);
    let recipe = &mut config.recipe;
    change(&mut recipe.batch_size, flags.batch_size, "--batch-size", allowed("batch-size"), &mut changed);
    change(&mut recipe.learning_rate, flags.lr, "--lr", allowed("lr"), &mut changed);
    change(&mut recipe.momentum, flags.momentum, "--momentum", allowed("momentum"), &mut changed);
    let decay = flags.weight_decay;
    change(&mut recipe.weight_decay, decay, "--weight-decay", allowed("weight-decay"), &mut changed);
    let milestones = flags.milestones.clone();
    change(&mut recipe.milestones, milestones, "--milestones", allowed("milestones"), &mut changed);
    let augment = flags.no_augment.then_some(false);
    change(&mut recipe.augment, augment, "--no-augment", allowed("no-augment"), &mut changed);
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

fn check_recipe(config: &Config) -> Result<(), CliError> {
    let recipe = &config.recipe;
    let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
    if recipe.epochs == 0 {
        return usage("--epochs 0 trains nothing; give at least 1");
    }
    if recipe.batch_size == 0 || config.micro_batch == Some(0) {
        return usage("a batch needs at least one picture; the paper's batch is 128");
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

/// Opens data and, of a run that continues, its state.
fn prepare(mut config: Config, resumed: Option<&RunDirectory>) -> Result<Plan, CliError> {
    let kind: Kind = config.dataset.parse()?;
    let spec = &config.network;
    let dataset = data::open(&data::Request {
        kind,
        dir: config.data.clone(),
        image_size: spec.image_size,
        crop: crop(spec.stem),
        need_train: true,
    })?;
    let classes = dataset.classes.len() as u32;
    if resumed.is_none() {
        config.network.classes = classes;
        config.network.validate()?;
    }
    if config.network.classes != classes {
        return Err(CliError::Data(format!(
            "the dataset has {classes} classes, the network {}; is it another dataset?",
            config.network.classes
        )));
    }
    let network = Network::new(&config.network)?;
    let (start, description) = match resumed {
        Some(run) => {
            let (snapshot, best, description) = run.load(&network)?;
            if snapshot.position.epoch > config.recipe.epochs {
                return Err(CliError::Usage(format!(
                    "{} has done all of its {} epochs; to go on, give more with --epochs",
                    run.path().display(),
                    config.recipe.epochs
                )));
            }
            (Some((snapshot, best)), description)
        }
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

/// How pictures of other sizes are brought to the network's.
pub(super) fn crop(stem: Stem) -> data::Crop {
    match stem {
        Stem::Cifar => data::Crop::Shorter,
        Stem::ImageNet => data::Crop::ImageNet,
    }
}

fn build<'d>(
    plan: &Plan,
    device: &'d Device,
    args: &Args,
    choices: &Choices,
) -> Result<Trainer<'d>, CliError> {
    let options = Options {
        recipe: plan.config.recipe.clone(),
        micro_batch: plan.config.micro_batch,
        seed: plan.config.seed,
        fuse: plan.config.fuse,
        workers: args.data.workers.max(1),
        preprocessing: plan.description.preprocessing,
    };
    let train = plan.dataset.train.clone();
    let train = train.ok_or_else(|| CliError::Data("the dataset has no training part".to_owned()))?;
    let test = plan.dataset.test.clone();
    let mut trainer = Trainer::new(
        device,
        plan.network.clone(),
        options,
        train,
        test,
        choices,
    )
    .map_err(|error| fitting(plan, device, error))?;
    let snapshot = match &plan.start {
        Some((snapshot, _)) => snapshot.clone(),
        None => initial(&plan.network, plan.config.seed),
    };
    trainer.restore(&snapshot);
    Ok(trainer)
}

/// Adds to an error about limits the batch that would fit.
fn fitting(plan: &Plan, device: &Device, error: TrainError) -> CliError {
    let error = CliError::from(error);
    let CliError::Device(text) = &error else {
        return error;
    };
    let now = plan.config.micro_batch.unwrap_or(plan.config.recipe.batch_size);
    match super::summary::largest_batch(&plan.network, &device.target(), now) {
        Some(batch) => CliError::Device(format!(
            "{text}; --micro-batch {batch} would fit this adapter's binding limit"
        )),
        None => error,
    }
}

/// Fresh weights, no velocity.
fn initial(network: &Network, seed: u64) -> Snapshot {
    let trainable = network.parameters().into_iter().filter(|p| p.role.is_trainable());
    Snapshot {
        weights: initial_values(network, seed).into_iter().collect(),
        momentum: trainable.map(|p| (p.name.clone(), vec![0.0; p.len()])).collect(),
        position: Position::start(),
    }
}

/// Says what is about to happen.
fn introduce(plan: &Plan, trainer: &Trainer<'_>, run: &RunDirectory, device: &DeviceArgs) {
    let counts = plan.network.counts();
    let recipe = &plan.config.recipe;
    device.say(&format!(
        "network: {} ({} parameters, {:.1} MMAC a picture)",
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
        "data: {}, {} training and {} test pictures, {augment}",
        plan.config.dataset,
        trainer.images_per_epoch(),
        plan.dataset.test.len()
    ));
    let micro = plan.config.micro_batch.map(|m| format!(" in micro-batches of {m}"));
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
    device.say(&format!("memory: {} on the device", bytes(trainer.engine().bytes())));
    device.say(&format!("run directory: {}", run.path().display()));
    if let Some((snapshot, _)) = &plan.start {
        let position = &snapshot.position;
        device.say(&format!(
            "continuing at epoch {}, step {}",
            position.epoch, position.step
        ));
    }
}

/// Drives a trainer to the end of its epochs, or until a signal.
struct Driver<'a> {
    plan: &'a Plan,
    run: &'a RunDirectory,
    args: &'a Args,
    best: Option<Best>,
    signals: Signals,
    saved: Instant,
}

impl Driver<'_> {
    fn drive(mut self, trainer: &mut Trainer<'_>) -> Result<(), CliError> {
        let begun = Instant::now();
        let start = trainer.position();
        self.event(json!({
            "event": if self.plan.start.is_some() { "resumed" } else { "started" },
            "epoch": start.epoch,
            "step": start.step,
            "run": self.run.path(),
        }))?;
        while !trainer.finished() {
            let result = self.epoch(trainer);
            if let Err(error) = &result {
                if !matches!(error, CliError::Stopped(_)) {
                    let text = error.message().unwrap_or_default();
                    self.event(json!({"event": "failed", "error": text}))?;
                }
                return result;
            }
        }
        let best = self.best.expect("at least one epoch was evaluated");
        self.event(json!({
            "event": "finished",
            "best_epoch": best.epoch,
            "best_top1_error": best.test_top1_error,
            "seconds": begun.elapsed().as_secs_f64(),
        }))?;
        let run = self.run.path().display();
        self.args.device.say(&format!(
            "finished in {}; best test error {:.2} % in epoch {}\nweights: {run}/best.safetensors \
             (best) and {run}/last.safetensors (last); classify with\n  pyr-wgpu predict {run}/best.safetensors PICTURE",
            duration(begun.elapsed().as_secs_f64()),
            best.test_top1_error,
            best.epoch
        ));
        Ok(())
    }

    fn epoch(&mut self, trainer: &mut Trainer<'_>) -> Result<(), CliError> {
        let begun = Instant::now();
        let epoch = trainer.position().epoch;
        let epochs = self.plan.config.recipe.epochs;
        let total = trainer.images_per_epoch() as u64;
        let batch = self.plan.config.recipe.batch_size as u64;
        let mut done = (u64::from(trainer.position().step) * batch).min(total);
        let label = format!("epoch {epoch}/{epochs}");
        let mut progress = Progress::new(&label, done, total, self.args.device.quiet);
        let mut shown = Instant::now();
        while !trainer.epoch_done() {
            done += trainer.step()? as u64;
            if shown.elapsed() >= Duration::from_secs(1) {
                let totals = pollster::block_on(trainer.collect())?;
                shown = Instant::now();
                let waited = trainer.waited().as_secs_f64();
                progress.update(done, || {
                    format!(
                        ", loss {:.3}, error {:.1} %, waited for data {waited:.1} s",
                        totals.mean_loss(),
                        totals.top1_error()
                    )
                });
            }
            if let Some(code) = self.signals.asked() {
                progress.finish();
                return self.stop(trainer, code);
            }
            if self.save_is_due(trainer.position().step) && !trainer.epoch_done() {
                self.save(trainer)?;
            }
        }
        let totals = pollster::block_on(trainer.collect())?;
        let rate = progress.rate();
        progress.finish();
        let waited = trainer.waited().as_secs_f64();
        let tested = self.evaluate(trainer, &label)?;
        let classes = self.plan.description.classes.len();
        let row = EpochMetrics {
            epoch,
            learning_rate: self.plan.config.recipe.learning_rate(epoch),
            train_loss: totals.mean_loss(),
            train_top1_error: totals.top1_error(),
            test_loss: tested.mean_loss(),
            test_top1_error: tested.top1_error(),
            test_top5_error: tested.top5_error(classes),
            images_per_second: rate,
            data_wait_seconds: waited,
            epoch_seconds: begun.elapsed().as_secs_f64(),
            device_bytes: trainer.engine().bytes(),
        };
        self.report(&row)?;
        trainer.next_epoch();
        let snapshot = pollster::block_on(trainer.snapshot())?;
        let improved = self.best.is_none_or(|best| row.test_top1_error < best.test_top1_error);
        if improved {
            self.best = Some(Best {
                epoch,
                test_top1_error: row.test_top1_error,
            });
            self.run
                .save_best(&self.plan.network, &self.plan.description, &snapshot)?;
        }
        self.store(&snapshot)?;
        match self.signals.asked().filter(|_| !trainer.finished()) {
            Some(code) => self.stopped(&snapshot, code),
            None => Ok(()),
        }
    }

    fn evaluate(&self, trainer: &mut Trainer<'_>, label: &str) -> Result<Totals, CliError> {
        let total = self.plan.dataset.test.len() as u64;
        let label = format!("{label} test");
        let mut progress = Progress::new(&label, 0, total, self.args.device.quiet);
        let tested = trainer.evaluate(|done| progress.update(done as u64, String::new));
        let tested = pollster::block_on(tested)?;
        progress.finish();
        Ok(tested)
    }

    /// Tells of a finished epoch.
    fn report(&self, row: &EpochMetrics) -> Result<(), CliError> {
        self.run.epoch(row)?;
        let mut event = serde_json::to_value(row).expect("metrics are plain data");
        event["event"] = json!("epoch");
        self.event(event)?;
        self.args.device.say(&format!(
            "epoch {}/{}: train loss {:.4}, error {:.2} %; test loss {:.4}, error {:.2} %; {:.0} \
             img/s, {}",
            row.epoch,
            self.plan.config.recipe.epochs,
            row.train_loss,
            row.train_top1_error,
            row.test_loss,
            row.test_top1_error,
            row.images_per_second,
            duration(row.epoch_seconds)
        ));
        Ok(())
    }

    fn save_is_due(&self, step: u32) -> bool {
        match self.args.files.checkpoint_every {
            None => false,
            Some(Every::Steps(n)) => step.is_multiple_of(n),
            Some(Every::Time(time)) => self.saved.elapsed() >= time,
        }
    }

    fn save(&mut self, trainer: &mut Trainer<'_>) -> Result<Snapshot, CliError> {
        let snapshot = pollster::block_on(trainer.snapshot())?;
        self.store(&snapshot)?;
        Ok(snapshot)
    }

    fn store(&mut self, snapshot: &Snapshot) -> Result<(), CliError> {
        self.run
            .save(&self.plan.network, &self.plan.description, snapshot, self.best)?;
        self.saved = Instant::now();
        let position = &snapshot.position;
        self.event(json!({
            "event": "saved",
            "epoch": position.epoch,
            "step": position.step,
        }))
    }

    /// Saves and ends the run, because a signal asked for it.
    fn stop(&mut self, trainer: &mut Trainer<'_>, code: u8) -> Result<(), CliError> {
        let snapshot = self.save(trainer)?;
        self.stopped(&snapshot, code)
    }

    fn stopped(&self, snapshot: &Snapshot, code: u8) -> Result<(), CliError> {
        let Position { epoch, step, .. } = snapshot.position;
        self.event(json!({"event": "stopped", "epoch": epoch, "step": step}))?;
        self.args.device.say(&format!(
            "stopped and saved at epoch {epoch}, step {step}; continue with\n  pyr-wgpu train \
             --resume {}",
            self.run.path().display()
        ));
        Err(CliError::Stopped(code))
    }

    fn event(&self, event: serde_json::Value) -> Result<(), CliError> {
        self.run.event(&event)?;
        match self.args.files.json {
            true => print_json(&event),
            false => Ok(()),
        }
    }
}
