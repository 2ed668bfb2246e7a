//! The run directory: the configuration, results and state of a training run, in documented files.
//!
//! ```text
//! config.toml          the resolved configuration: network, dataset, recipe, seed
//! environment.json     version, adapter, driver, operating system
//! choices.json         the kernels in use, frozen so that a resumed run computes the same bits
//! classes.txt          class names, one per line
//! metrics.csv          one row per epoch
//! events.jsonl         events, one JSON document per line
//! last.safetensors     weights of the last save
//! best.safetensors     weights of the epoch with the lowest test error
//! state.safetensors    weights, momentum and position: what `--resume` needs, in one file
//! ```
//!
//! A new run never writes into a directory that is not empty.
//! Files are appended to (`events.jsonl`, `metrics.csv`) or replaced atomically, so a failed save
//! leaves the previous file.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError, StoredTensor, write_atomically};
use crate::engine::Device;
use crate::gpu;
use crate::graph::{ActivationCheckpointing, Passes, Precision};
use crate::kernels::Choices;
use crate::model::{Description, Network, NetworkSpec, SpecError, TensorKind};
use crate::train::{Best, EpochMetrics, Event, Position, Recipe, SCHEMA, Save, Snapshot};
use crate::trained_model::{TrainedModelError, checkpoint, network_tensors};

/// Metadata key of [`Progress`] in the state file.
const PROGRESS_KEY: &str = "pyr_wgpu_progress";

/// Errors of run directories.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directory cannot be created or written.
    #[error("run directory {path}: {source}; choose another with --run-dir")]
    Directory {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The directory is not empty.
    #[error(
        "run directory {0} is not empty, and a run never overwrites another; choose another \
         with --run-dir, or continue it with --resume {0}"
    )]
    Occupied(PathBuf),
    /// Not a valid run directory.
    #[error("{path} cannot be resumed: {reason}; --resume takes a directory written by `train`")]
    NotARun {
        /// The path.
        path: PathBuf,
        /// What is missing or damaged.
        reason: String,
    },
    /// A checkpoint in it cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A checkpoint does not match the configuration.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl From<TrainedModelError> for RunError {
    fn from(error: TrainedModelError) -> RunError {
        match error {
            TrainedModelError::Checkpoint(error) => error.into(),
            TrainedModelError::Network(error) => error.into(),
        }
    }
}

/// The configuration of a run, sufficient to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Dataset: `shapes`, `cifar10`, ….
    pub dataset: String,
    /// Its directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Size of a micro-batch, if smaller than the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Whether fusion rules were applied.
    pub fuse: bool,
    /// Whether the backward pass recomputes the activations of units
    /// ([`ActivationCheckpointing::Units`]).
    #[serde(default)]
    pub recompute: bool,
    /// Storage precision of activations.
    #[serde(default)]
    pub precision: Precision,
    /// The network.
    pub network: NetworkSpec,
    /// Optimiser and schedule.
    pub recipe: Recipe,
}

impl Config {
    /// The passes over the graphs.
    pub fn passes(&self) -> Passes {
        Passes {
            fuse: self.fuse,
            checkpointing: match self.recompute {
                true => ActivationCheckpointing::Units,
                false => ActivationCheckpointing::default(),
            },
            precision: self.precision,
        }
    }
}

/// The software and hardware of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub version: &'static str,
    /// Operating system and processor architecture.
    pub system: String,
    /// Major version of wgpu.
    pub wgpu: &'static str,
    /// The value of `--device` that selects this device again.
    pub device: String,
    /// Display name of the device.
    pub device_name: String,
    /// Its properties, if it is an adapter.
    pub adapter: Option<gpu::Description>,
}

impl Environment {
    /// The environment of this process on a device.
    pub fn new(device: &Device) -> Environment {
        Environment {
            version: env!("CARGO_PKG_VERSION"),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            wgpu: gpu::WGPU_VERSION,
            device: device.selector(),
            device_name: device.name(),
            adapter: device.description().cloned(),
        }
    }
}

const CSV_HEADER: &str = "epoch,learning_rate,train_loss,train_top1_error,test_loss,\
test_top1_error,test_top5_error,images_per_second,data_wait_seconds,epoch_seconds,device_bytes";

/// A row of `metrics.csv`.
fn csv(row: &EpochMetrics) -> String {
    let top5 = row.test_top5_error.map(|e| format!("{e:.4}"));
    format!(
        "{},{},{:.6},{:.4},{:.6},{:.4},{},{:.1},{:.3},{:.3},{}",
        row.epoch,
        row.learning_rate,
        row.train_loss,
        row.train_top1_error,
        row.test_loss,
        row.test_top1_error,
        top5.unwrap_or_default(),
        row.images_per_second,
        row.data_wait_seconds,
        row.epoch_seconds,
        row.device_bytes
    )
}

/// The events of a run over all its sessions, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The recorded events, without epochs that a later session repeated.
    pub events: Vec<Event>,
}

impl History {
    /// The epochs of the run, each once.
    pub fn epochs(&self) -> impl Iterator<Item = &EpochMetrics> {
        self.events.iter().filter_map(|event| match event {
            Event::Epoch(metrics) => Some(metrics),
            _ => None,
        })
    }

    fn add(&mut self, event: Event) {
        if let Event::Resumed(beginning) = &event {
            let repeated =
                |e: &Event| matches!(e, Event::Epoch(row) if row.epoch >= beginning.epoch);
            self.events.retain(|e| !repeated(e));
        }
        self.events.push(event);
    }
}

/// The metadata of the state file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Position of the run.
    pub position: Position,
    /// The best epoch so far.
    pub best: Option<Best>,
}

/// A run directory.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    /// Creates a directory: `path`, or `runs/NAME-N` with the next free number.
    ///
    /// # Errors
    /// If it exists and is not empty, or cannot be written.
    pub fn create(path: Option<&Path>, name: &str) -> Result<RunDirectory, RunError> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => next_free(Path::new("runs"), name),
        };
        let failed = |source| RunError::Directory {
            path: path.clone(),
            source,
        };
        if path.is_dir() {
            let mut entries = fs::read_dir(&path).map_err(failed)?;
            if entries.next().is_some() {
                return Err(RunError::Occupied(path));
            }
        }
        fs::create_dir_all(&path).map_err(failed)?;
        // Fail now rather than after the first epoch if the directory is not writable.
        tempfile::tempfile_in(&path).map_err(failed)?;
        Ok(RunDirectory { path })
    }

    /// Opens an existing run directory.
    ///
    /// # Errors
    /// If it has no configuration or no state.
    pub fn open(path: &Path) -> Result<RunDirectory, RunError> {
        let run = RunDirectory {
            path: path.to_owned(),
        };
        for file in ["config.toml", "state.safetensors"] {
            if !run.file(file).is_file() {
                return Err(run.not_a_run(format!("it has no {file}")));
            }
        }
        Ok(run)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The value of `--device` that selects the device on which the run began, if it is recorded.
    pub fn device(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Recorded {
            device: String,
        }
        let text = fs::read_to_string(self.file("environment.json")).ok()?;
        let recorded: Recorded = serde_json::from_str(&text).ok()?;
        Some(recorded.device)
    }

    /// Writes the files that are known before the first step.
    ///
    /// # Errors
    /// If writing fails.
    pub fn begin(
        &self,
        config: &Config,
        environment: &Environment,
        choices: &Choices,
        classes: &[String],
    ) -> Result<(), RunError> {
        self.update_config(config)?;
        self.write("environment.json", &pretty(environment))?;
        self.write("choices.json", &pretty(choices))?;
        self.write("classes.txt", &(classes.join("\n") + "\n"))?;
        self.write("metrics.csv", &format!("{CSV_HEADER}\n"))
    }

    /// Replaces the configuration, for a run that resumes with more epochs.
    ///
    /// # Errors
    /// If writing fails.
    pub fn update_config(&self, config: &Config) -> Result<(), RunError> {
        let text = toml::to_string(config).expect("a configuration is plain data");
        self.write("config.toml", &text)
    }

    /// The configuration.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn config(&self) -> Result<Config, RunError> {
        let text = self.read("config.toml")?;
        toml::from_str(&text).map_err(|e| self.not_a_run(format!("config.toml is damaged: {e}")))
    }

    /// The kernels of the run.
    ///
    /// # Errors
    /// If the file is missing or damaged.
    pub fn choices(&self) -> Result<Choices, RunError> {
        let text = self.read("choices.json")?;
        serde_json::from_str(&text)
            .map_err(|e| self.not_a_run(format!("choices.json is damaged: {e}")))
    }

    /// Appends an event to `events.jsonl`, unless it is for display only, and an epoch to
    /// `metrics.csv`.
    ///
    /// # Errors
    /// If writing fails.
    pub fn record(&self, event: &Event) -> Result<(), RunError> {
        if let Event::Epoch(metrics) = event {
            self.append("metrics.csv", &format!("{}\n", csv(metrics)))?;
        }
        match event.is_lasting() {
            true => self.append("events.jsonl", &format!("{}\n", event.to_json())),
            false => Ok(()),
        }
    }

    /// The events that [`RunDirectory::record`] wrote, in this version or an older one. An
    /// incomplete last line is ignored.
    ///
    /// # Errors
    /// If the file is missing, damaged, or of a later version.
    pub fn history(&self) -> Result<History, RunError> {
        let text = self.read("events.jsonl")?;
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut history = History::default();
        for (index, line) in complete.lines().enumerate() {
            let event: Event = serde_json::from_str(line).map_err(|e| {
                self.not_a_run(format!("events.jsonl, line {}, is damaged: {e}", index + 1))
            })?;
            if let Event::Started(beginning) | Event::Resumed(beginning) = &event
                && beginning.schema > SCHEMA
            {
                return Err(self.not_a_run(format!(
                    "events.jsonl has schema {}, but this version reads {SCHEMA} at most",
                    beginning.schema
                )));
            }
            history.add(event);
        }
        Ok(history)
    }

    /// Prepares the records for a session that resumes: removes the rows of `metrics.csv` from
    /// an epoch on, which the session repeats, and an incomplete last line of `events.jsonl`,
    /// which a full disk leaves.
    ///
    /// # Errors
    /// If reading or writing fails.
    pub fn forget_from(&self, epoch: u32) -> Result<(), RunError> {
        let text = self.read("metrics.csv")?;
        let kept = text.lines().filter(|line| {
            let number = line.split(',').next().and_then(|n| n.parse::<u32>().ok());
            number.is_none_or(|n| n < epoch)
        });
        let text: String = kept.flat_map(|line| [line, "\n"]).collect();
        self.write("metrics.csv", &text)?;
        // A run without this record can resume; the session begins a new one.
        let events = self.read("events.jsonl").unwrap_or_default();
        let complete = events.rfind('\n').map_or(0, |end| end + 1);
        match complete < events.len() {
            true => self.write("events.jsonl", &events[..complete]),
            false => Ok(()),
        }
    }

    /// Saves a state of a session: `last.safetensors`, `state.safetensors` and, after the best
    /// epoch so far, `best.safetensors`.
    ///
    /// # Errors
    /// If writing fails; a file that could not be written keeps its previous contents.
    pub fn save(&self, description: &Description, save: Save<'_>) -> Result<(), RunError> {
        let Save {
            network,
            snapshot,
            best,
            improved,
        } = save;
        let batches = snapshot.position.batches_tracked;
        let weights = checkpoint(network, description, &snapshot.weights, batches);
        if improved {
            weights.save(&self.file("best.safetensors"))?;
        }
        let mut state = weights.clone();
        let parameters = network.parameters();
        for (kind, tensors) in &snapshot.optimizer {
            let prefix = kind.prefix().expect("a snapshot holds what is stored");
            for parameter in parameters.iter().filter(|p| p.role.is_trainable()) {
                let values = tensors[&parameter.name].clone();
                let tensor = StoredTensor::f32(parameter.shape.clone(), values);
                let name = format!("{prefix}{}", parameter.name);
                state.tensors.insert(name, tensor);
            }
        }
        let progress = Progress {
            position: snapshot.position,
            best,
        };
        let text = serde_json::to_string(&progress).expect("progress is plain data");
        state.metadata.insert(PROGRESS_KEY.to_owned(), text);
        // The state last: a run that is killed in between repeats the steps since the previous one.
        weights.save(&self.file("last.safetensors"))?;
        Ok(state.save(&self.file("state.safetensors"))?)
    }

    /// Reads the saved state, the best epoch so far and the network's description.
    ///
    /// # Errors
    /// If the state is damaged, holds NaN or infinities, or does not match `network`.
    pub fn load(
        &self,
        network: &Network,
    ) -> Result<(Snapshot, Option<Best>, Description), RunError> {
        let mut state = Checkpoint::load(&self.file("state.safetensors"))?;
        state.check_finite()?;
        let progress = state.metadata.get(PROGRESS_KEY);
        let progress: Progress = progress
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| self.not_a_run("state.safetensors has no valid position".into()))?;
        let description = Description::read(&state.metadata)?
            .ok_or_else(|| self.not_a_run("state.safetensors has no network description".into()))?;
        if description.network != *network.spec() {
            return Err(self.not_a_run(format!(
                "state.safetensors is of the network {}, config.toml of {}; restore the one that \
                 was changed",
                description.network,
                network.spec()
            )));
        }
        let is_optimizer = |name: &String| {
            let mut prefixes = TensorKind::optimizer_state().filter_map(TensorKind::prefix);
            prefixes.any(|prefix| name.starts_with(prefix))
        };
        let (mut stored, weights): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut state.tensors)
                .into_iter()
                .partition(|(name, _)| is_optimizer(name));
        let weights = network_tensors(network, weights)?;
        let mut optimizer = BTreeMap::new();
        for kind in TensorKind::optimizer_state() {
            let prefix = kind.prefix().expect("optimiser state is stored");
            let mut tensors = BTreeMap::new();
            let parameters = network.parameters().into_iter();
            for parameter in parameters.filter(|p| p.role.is_trainable()) {
                let tensor = stored.remove(&format!("{prefix}{}", parameter.name));
                let fits = |tensor: &StoredTensor| tensor.shape() == parameter.shape;
                let Some(tensor) = tensor.filter(fits) else {
                    let missing = kind.value_name(&parameter.name);
                    return Err(self.not_a_run(format!("state.safetensors lacks {missing}")));
                };
                let name = kind.value_name(&parameter.name);
                tensors.insert(parameter.name, tensor.into_f32(&name)?);
            }
            optimizer.insert(kind, tensors);
        }
        let snapshot = Snapshot {
            weights,
            optimizer,
            position: progress.position,
        };
        Ok((snapshot, progress.best, description))
    }

    fn not_a_run(&self, reason: String) -> RunError {
        RunError::NotARun {
            path: self.path.clone(),
            reason,
        }
    }

    fn read(&self, name: &str) -> Result<String, RunError> {
        fs::read_to_string(self.file(name))
            .map_err(|e| self.not_a_run(format!("{name} cannot be read: {e}")))
    }

    fn write(&self, name: &str, text: &str) -> Result<(), RunError> {
        let path = self.file(name);
        Ok(write_atomically(&path, |file| {
            file.write_all(text.as_bytes())
        })?)
    }

    fn append(&self, name: &str, text: &str) -> Result<(), RunError> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.file(name));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|source| RunError::Directory {
                path: self.file(name),
                source,
            })
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data is always JSON") + "\n"
}

/// `NAME-N` in a directory, with N above all existing numbers.
fn next_free(directory: &Path, name: &str) -> PathBuf {
    let prefix = format!("{name}-");
    let taken = fs::read_dir(directory).into_iter().flatten().flatten();
    let numbers = taken.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(&prefix)?.parse::<u32>().ok()
    });
    let next = numbers.max().unwrap_or(0) + 1;
    directory.join(format!("{prefix}{next}"))
}
