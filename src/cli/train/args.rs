//! The flags of `pyr-wgpu train`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::super::augment::AugmentArgs;
use super::super::device::DeviceArgs;
use super::super::error::CliError;
use super::super::network::NetworkArgs;
use super::super::tuning::TuneArgs;
use super::super::workers;
use super::devices::DevicesArgs;
use super::fine_tune;
use super::limits::{self, MicroBatch, Recompute, Shares};
use crate::data::{Augmentation, DatasetKind};
use crate::graph::Precision;
use crate::run::Config;
use crate::train::{Recipe, SaveInterval, Schedule};

/// Arguments of `train`.
#[derive(ClapArgs)]
pub(in super::super) struct Args {
    #[command(flatten)]
    pub(super) network: NetworkArgs,
    #[command(flatten)]
    pub(super) data: DataArgs,
    #[command(flatten)]
    pub(super) recipe: RecipeArgs,
    #[command(flatten)]
    pub(super) files: FileArgs,
    #[command(flatten)]
    pub(super) device: DeviceArgs,
    #[command(flatten)]
    pub(super) several: DevicesArgs,
    #[command(flatten)]
    pub(super) tune: TuneArgs,
    /// The configuration that `--config` names, if that file is a run's.
    #[arg(skip)]
    pub(super) base: Option<Box<Config>>,
}

impl Args {
    /// The flags whose values are left to the program.
    pub(super) fn automatic(&self) -> Vec<&'static str> {
        let flags = [
            ("shares", self.several.shares == Some(Shares::Auto)),
            (
                "micro-batch",
                self.recipe.micro_batch == Some(MicroBatch::Auto),
            ),
            ("recompute", self.files.recompute == Some(Recompute::Auto)),
        ];
        let automatic = flags.into_iter().filter(|(_, is_automatic)| *is_automatic);
        automatic.map(|(name, _)| name).collect()
    }

    /// Checks that no flag was given that would have no effect, as far as that is known before a
    /// file is read.
    ///
    /// # Errors
    /// The flag.
    pub(super) fn check(&self) -> Result<(), CliError> {
        self.several.check(&self.device)?;
        self.check_device(&self.several.first_adapter(&self.device, &[]))?;
        if let Some(schedule) = self.recipe.schedule.filter(|schedule| !schedule.is_step())
            && self.recipe.milestones.is_some()
        {
            return Err(CliError::Usage(format!(
                "--schedule {schedule} has no milestones; leave out --milestones"
            )));
        }
        // The parser waives what a flag requires beside another that conflicts with it.
        if !self.files.allow.is_empty() && self.files.resume.is_none() {
            return Err(CliError::Usage(
                "--allow is for changes of a run that --resume continues; leave it out".to_owned(),
            ));
        }
        if self.files.reset_classifier && self.network.preset.is_some() {
            return Err(CliError::Usage(
                "--preset starts with random weights in any case; leave out --reset-classifier"
                    .to_owned(),
            ));
        }
        if self.several.shares == Some(Shares::Auto) {
            if self.files.resume.is_some() {
                return Err(CliError::Usage(
                    "a resumed run keeps the shares that were measured for it; leave out --shares \
                     auto"
                        .to_owned(),
                ));
            }
            if self.files.print_config {
                return Err(CliError::Usage(
                    "--print-config does not open the devices, whose speeds --shares auto \
                     measures; leave it out"
                        .to_owned(),
                ));
            }
        }
        match self.files.resume.is_some() && self.tune.tune.is_some() {
            true => Err(CliError::Usage(
                "a resumed run keeps its kernels, so that its results stay the same; leave out \
                 --tune"
                    .to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Checks that no flag was given that has no effect on a device.
    ///
    /// # Errors
    /// The flag.
    pub(super) fn check_device(&self, device: &DeviceArgs) -> Result<(), CliError> {
        device.check()?;
        self.tune.check(device)?;
        if self.files.choices.is_some() {
            device.needs_adapter("--choices", "has no choice of kernels")?;
        }
        if self.files.retry > 0 {
            device.needs_adapter("--retry", "cannot be lost")?;
        }
        Ok(())
    }
}

/// The dataset's flags.
#[derive(ClapArgs)]
#[command(next_help_heading = "Data")]
pub(super) struct DataArgs {
    #[arg(long, value_name = "NAME", help = format!("{} [default: shapes]", DatasetKind::names("or")))]
    pub(super) dataset: Option<DatasetKind>,
    /// Where the dataset's files are
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Threads that decode images, for datasets over 1 GiB and for --augmentation imagenet [default:
    /// one for each processor]
    #[arg(long, value_name = "N", value_parser = workers)]
    pub(super) workers: Option<usize>,
    /// How training images change at random: crop (pad, crop, flip), or imagenet (crop of random
    /// area and aspect ratio, colour, lighting, flip; needs image files) [default: imagenet for
    /// image files and the imagenet stem, else crop]
    #[arg(long, value_name = "WORD", conflicts_with = "no_augment")]
    pub(super) augmentation: Option<Augmentation>,
}

/// Optimiser and schedule; defaults come from the dataset.
#[derive(ClapArgs)]
#[command(next_help_heading = "Recipe")]
pub(super) struct RecipeArgs {
    #[arg(long, value_name = "N", help = help("Passes over the training images", |r| r.epochs.to_string()))]
    pub(super) epochs: Option<u32>,
    #[arg(long, value_name = "N", help = help("Images per step", |r| r.batch_size.to_string()))]
    pub(super) batch_size: Option<usize>,
    #[arg(
        long,
        value_name = "X",
        allow_negative_numbers = true,
        help = help("Learning rate before the first milestone", |r| r.learning_rate.to_string())
    )]
    pub(super) lr: Option<f32>,
    /// Nesterov momentum [default: 0.9]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(super) momentum: Option<f32>,
    /// Weight decay of every parameter [default: 0.0001]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(super) weight_decay: Option<f32>,
    /// How the learning rate changes: step (at the milestones), cosine or polynomial (in every step,
    /// to 0 at the end) [default: step]
    #[arg(long, value_name = "WORD")]
    pub(super) schedule: Option<Schedule>,
    /// Exponent of the polynomial schedule [default: 1]
    #[arg(long, value_name = "X")]
    pub(super) power: Option<f32>,
    /// Epochs in which the learning rate grows linearly, step by step, before the schedule
    /// [default: 0]
    #[arg(long, value_name = "N")]
    pub(super) warmup: Option<u32>,
    #[arg(
        long,
        value_name = "E,E",
        value_delimiter = ',',
        help = help("Epochs at whose start the rate drops to a tenth", milestones)
    )]
    pub(super) milestones: Option<Vec<u32>>,
    /// Images per forward and backward pass, if fewer than a batch; gradients are summed, and
    /// batch norm uses the statistics of these images only (see also --sync-batch-norm); auto takes the largest divisor
    /// of the batch that fits --memory
    #[arg(long, value_name = "N|auto")]
    pub(super) micro_batch: Option<MicroBatch>,
    /// How feature maps are stored: f32, or f16 for half the memory; weights, statistics and
    /// sums stay f32, and the loss is scaled so that small gradients do not underflow
    /// [default: f32]
    #[arg(long, value_name = "f32|f16")]
    pub(super) precision: Option<Precision>,
    /// No random flip, crop and colours; --auto-augment, --erase, --cutout, --mixup and --cutmix
    /// act all the same
    #[arg(long)]
    pub(super) no_augment: bool,
    /// Scale gradients down to this L2 norm of all of them together, if it is larger [default: 0,
    /// no limit]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(super) clip_grad_norm: Option<f32>,
    /// Keep moving averages of the weights: after each step, DECAY of the average and the rest of
    /// the new weights; test errors, best and last are then those of the averages. They begin with
    /// the initial weights and span about 1 / (1 - DECAY) steps [default: 0,
    /// none]
    #[arg(long, value_name = "DECAY", allow_negative_numbers = true)]
    pub(super) ema: Option<f32>,
    /// End the run after so many epochs without a lower test error [default: 0, never]
    #[arg(long, value_name = "N")]
    pub(super) patience: Option<u32>,
    #[command(flatten)]
    pub(super) augment: AugmentArgs,
    /// Share of the target that all classes have, in the training loss only: 0.1 makes it 0.9 for
    /// the label and 0.1 evenly for all classes [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub(super) label_smoothing: Option<f32>,
    /// Seed of all random numbers [default: 1]
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
}

/// The help of an option with its default per dataset; the most common one comes last.
fn help(what: &str, value: impl Fn(&Recipe) -> String) -> String {
    let defaults = DatasetKind::ALL
        .iter()
        .map(|kind| (kind.name(), value(&Recipe::for_dataset(*kind))));
    let defaults: Vec<(&str, String)> = defaults.collect();
    let count = |wanted: &str| defaults.iter().filter(|(_, value)| value == wanted).count();
    let common = defaults.iter().max_by_key(|(_, value)| count(value));
    let (_, common) = common.expect("there are datasets");
    let others = defaults.iter().filter(|(_, value)| value != common);
    let others: String = others
        .map(|(name, value)| format!("{name} {value}, "))
        .collect();
    format!("{what} [default: {others}others {common}]")
}

fn milestones(recipe: &Recipe) -> String {
    let epochs: Vec<String> = recipe.milestones.iter().map(u32::to_string).collect();
    epochs.join(",")
}

/// The run directory, and how its steps are computed.
#[derive(ClapArgs)]
#[command(next_help_heading = "Run")]
pub(super) struct FileArgs {
    /// Take flags from a TOML file, whose keys are their names, or from a run's config.toml; those of
    /// the command line win
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub(super) config: Option<PathBuf>,
    /// Print the configuration that the flags describe, in the form that --config reads, and exit
    #[arg(long, conflicts_with = "resume")]
    pub(super) print_config: bool,
    /// Directory of the run, new or empty [default: runs/PRESET-DATASET-N, or
    /// runs/run-DATASET-N without a preset]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    pub(super) run_dir: Option<PathBuf>,
    /// Begin with the weights of a checkpoint or run; the classifier starts from random weights if
    /// its classes are not the dataset's
    #[arg(long, value_name = "CHECKPOINT", conflicts_with_all = ["resume", "preset"])]
    pub(super) from: Option<PathBuf>,
    /// With --from: the classifier starts from random weights in any case
    #[arg(long, requires = "from")]
    pub(super) reset_classifier: bool,
    /// Train only what follows the stem, or a stage by its number; frozen batch norms use their
    /// running statistics
    #[arg(long, value_name = "STAGE", value_parser = fine_tune::stage)]
    pub(super) freeze_until: Option<u32>,
    /// Resume a run, with its recorded kernels; --epochs may be raised
    #[arg(long, value_name = "RUN_DIR")]
    pub(super) resume: Option<PathBuf>,
    /// With --resume: flags that may differ from the run's, as in --lr 0.01 --allow lr; data also
    /// allows other images in the same directory, and ranks another number of processes
    #[arg(long, value_name = "FLAGS", value_delimiter = ',', requires = "resume")]
    pub(super) allow: Vec<String>,
    /// Save within epochs as well: every N steps, or every N minutes as in 10m
    #[arg(long, value_name = "N|Nm", value_parser = save_interval)]
    pub(super) checkpoint_every: Option<SaveInterval>,
    /// After the loss of an adapter, open it again and continue from the last save, up to N times
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) retry: u32,
    /// Use the kernel choices of another run of this network on such an adapter
    #[arg(long, value_name = "RUN_DIR", conflicts_with = "resume")]
    pub(super) choices: Option<PathBuf>,
    /// Memory of the device that --micro-batch auto and --recompute auto may use, as in 6GiB
    /// [default: three quarters of what is free, where the device uses the processor's memory, which
    /// several processes on a machine divide]
    #[arg(long, value_name = "SIZE", value_parser = limits::size)]
    pub(super) memory: Option<u64>,
    /// Store few activations and recompute the others in the backward pass: about a third of
    /// the memory, about a third more time, the same results; auto does so only if the step does not
    /// fit --memory otherwise
    #[arg(long, value_name = "on|off|auto", num_args = 0..=1, default_missing_value = "on")]
    pub(super) recompute: Option<Recompute>,
    /// Do not fuse operators
    #[arg(long)]
    pub(super) no_fuse: bool,
    /// Print events as JSON lines on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// Parses `500` (steps) or `10m` (minutes).
fn save_interval(text: &str) -> Result<SaveInterval, String> {
    let parsed = match text.strip_suffix('m') {
        Some(minutes) => minutes
            .parse()
            .ok()
            .filter(|m| *m > 0.0 && *m < 1e6)
            .map(|m: f64| SaveInterval::Time(Duration::from_secs_f64(60.0 * m))),
        None => text
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .map(SaveInterval::Steps),
    };
    parsed.ok_or_else(|| "give a number of steps, as in 500, or of minutes, as in 10m".to_owned())
}
