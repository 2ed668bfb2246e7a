//! The run directory: the configuration, results and state of a training run, in documented files.
//!
//! ```text
//! config.toml          the resolved configuration: network, dataset, recipe, seed; with a checksum
//!                      and the run's id in comments
//! environment.json     version, adapters, drivers, operating system
//! choices.json         the kernels in use, frozen so that a resumed run computes the same bits; a
//!                      list of tables if there are several devices
//! classes.txt          class names, one per line, control characters escaped
//! metrics.csv          one row per epoch
//! events.jsonl         events, one JSON document per line
//! last.safetensors     weights of the last save; with `--ema`, their averages
//! best.safetensors     weights of the epoch with the lowest test error; with `--ema`, their averages
//! state.safetensors    weights, momentum, averages and position: what `--resume` needs, in one file
//! lock                 the number of the process that writes, or wrote last
//! ```
//!
//! A new run never writes into a directory that is not empty, and only one process at a time
//! writes into a directory. Before each write a process makes sure that it holds the lock: if the
//! file was removed it takes a new one, and if another process was faster it stops.
//! Files are appended to (`events.jsonl`, `metrics.csv`) or replaced atomically, so a failed save
//! leaves the previous file. `config.toml` is the first file: with it a run can resume, from its
//! beginning if it has no state.

mod config;
mod devices;
mod lock;
mod records;
mod state;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::checkpoint::{
    CheckpointError, is_temporary, limit_advice, write_atomically, writing_advice,
};
use crate::files::{self, LARGEST_TEXT, behind_links, directory};
use crate::kernels::Choices;
use crate::model::SpecError;
use crate::text::{printable, printable_path};
use crate::trained_model::TrainedModelError;
use lock::{LOCK, Lock, LockError, LockState};
use records::{CSV_HEADER, EVENTS, METRICS};

pub use config::{Config, DeviceEnvironment, Environment, parse_toml, unknown_key};
pub use devices::RecordedDevice;
pub use records::History;
use state::{BEST, LAST, STATE};
pub use state::{DataRecord, Progress, SavedState};

/// The directory of runs for which none is given.
pub const RUNS: &str = "runs";

/// Errors of run directories.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The directory, or a file in it, cannot be created or written.
    #[error(
        "cannot access {}: {source}; {}",
        printable_path(path),
        writing_advice(.source)
    )]
    Directory {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The directory is not empty.
    #[error(
        "run directory {} is not empty, and a run never overwrites another; choose another \
         with --run-dir, or continue that one with --resume",
        printable_path(.0)
    )]
    Occupied(PathBuf),
    /// Another process writes into the directory.
    #[error(
        "run directory {} is in use by {}; wait for its end, or stop it",
        printable_path(path),
        .process.map_or("another process".to_owned(), |number| format!("process {number}"))
    )]
    InUse {
        /// The path.
        path: PathBuf,
        /// The number of the process, if it is known.
        process: Option<u32>,
    },
    /// Another process has written into the directory in the meantime.
    #[error(
        "{} has continued the run in {} since the file `lock` was removed there; this process \
         stops without saving; never remove that file",
        .process.map_or("another process".to_owned(), |number| format!("process {number}")),
        printable_path(path)
    )]
    Taken {
        /// The path.
        path: PathBuf,
        /// The number of the process, if it is known.
        process: Option<u32>,
    },
    /// Not a run directory.
    #[error(
        "{} is not the directory of a run: {reason}; give one that `train` has written, such as \
         runs/demo-shapes-1",
        printable_path(path)
    )]
    NotARun {
        /// The path.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A file of a run cannot be used.
    #[error("run directory {}: {reason}", printable_path(path))]
    Damaged {
        /// The path.
        path: PathBuf,
        /// Which file, what is wrong with it, and the next step.
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

/// A run directory.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    /// `None` for a directory that is only read.
    lock: RefCell<Option<Lock>>,
    /// Files without which a run cannot be resumed. A save writes those again that were removed.
    needed: RefCell<BTreeMap<&'static str, String>>,
    /// [`Progress::best_weights`] of the last state that was saved or read.
    best_weights: Cell<Option<u64>>,
    /// [`Progress::results`] of the last epoch that was recorded, or of the state that was read.
    results: Cell<Option<u64>>,
    /// See [`RunDirectory::id`].
    id: Cell<Option<u64>>,
}

impl RunDirectory {
    /// Creates a directory and locks it: `path`, or `runs/NAME-N` with the next free number.
    ///
    /// # Errors
    /// If it is not empty, another process uses it, or it cannot be written.
    pub fn create(path: Option<&Path>, name: &str) -> Result<RunDirectory, RunError> {
        let path = match path {
            Some(path) => {
                fs::create_dir_all(path).map_err(failed(path))?;
                path.to_owned()
            }
            None => create_next(Path::new(RUNS), name)?,
        };
        let is_foreign = |name: &String| name != LOCK && !is_temporary(name);
        let entries = entries(&path)?;
        // Nothing is written into the directory of somebody else.
        if entries.iter().any(is_foreign) && !entries.iter().any(|name| name == LOCK) {
            return Err(RunError::Occupied(path));
        }
        let run = RunDirectory::lock(path)?;
        match self::entries(&run.path)?.iter().any(is_foreign) {
            true => Err(RunError::Occupied(run.path)),
            false => run.begin_writing(),
        }
    }

    /// Opens an existing run directory to read it.
    ///
    /// # Errors
    /// If it has no configuration, or its files cannot be accessed.
    pub fn open(path: &Path) -> Result<RunDirectory, RunError> {
        let run = RunDirectory::at(path.to_owned(), None);
        let reason = match fs::metadata(run.file(CONFIG)) {
            Ok(file) if file.is_file() => return Ok(run),
            _ if path.is_file() => "it is a file".to_owned(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(run.unreadable(CONFIG, &error));
            }
            _ if !path.is_dir() => "there is no such directory".to_owned(),
            _ => format!("it has no {CONFIG}, so no run has begun in it"),
        };
        Err(RunError::NotARun {
            path: run.path,
            reason,
        })
    }

    /// Opens and locks an existing run directory to continue the run.
    ///
    /// # Errors
    /// If it has no configuration, another process uses it, or it cannot be written.
    pub fn resume(path: &Path) -> Result<RunDirectory, RunError> {
        let run = RunDirectory::open(path)?;
        RunDirectory::lock(run.path)?.begin_writing()
    }

    /// Why no lock protects the directory from a second process, if that is so.
    pub fn unlocked(&self) -> Option<String> {
        let lock = self.lock.borrow();
        Some(lock.as_ref()?.unsupported.as_ref()?.to_string())
    }

    /// Locks a directory.
    fn lock(path: PathBuf) -> Result<RunDirectory, RunError> {
        let lock = take_lock(&path)?;
        Ok(RunDirectory::at(path, Some(lock)))
    }

    fn at(path: PathBuf, lock: Option<Lock>) -> RunDirectory {
        RunDirectory {
            path,
            lock: RefCell::new(lock),
            needed: RefCell::default(),
            best_weights: Cell::default(),
            results: Cell::default(),
            id: Cell::default(),
        }
    }

    /// Makes sure that no other process has had the directory since this one locked it, and takes
    /// the lock again if its file was removed.
    ///
    /// # Errors
    /// If another process has, or had, the lock.
    fn keep_lock(&self) -> Result<(), RunError> {
        let mut lock = self.lock.borrow_mut();
        let Some(held) = &*lock else { return Ok(()) };
        let taken = |process| RunError::Taken {
            path: self.path.clone(),
            process,
        };
        match held.state_in(&self.path) {
            LockState::Held => Ok(()),
            LockState::Replaced(process) => Err(taken(process)),
            LockState::Removed => {
                let new = take_lock(&self.path).map_err(|error| match error {
                    RunError::InUse { process, .. } => taken(process),
                    error => error,
                })?;
                let written = lock.insert(new).write_holder();
                written.map_err(failed(&self.file(LOCK)))
            }
        }
    }

    /// Says in the lock who holds it, and removes the temporary files of killed processes.
    fn begin_writing(self) -> Result<RunDirectory, RunError> {
        if let Some(lock) = &mut *self.lock.borrow_mut() {
            lock.write_holder().map_err(failed(&self.file(LOCK)))?;
        }
        for name in entries(&self.path)? {
            let path = self.file(&name);
            // A directory of this name is not a file of a killed process.
            if is_temporary(&name) && !path.is_dir() {
                fs::remove_file(&path).map_err(failed(&path))?;
            }
        }
        Ok(self)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which run it is: a hash of the configuration that it began with. `None` before the
    /// configuration is read or written, and for runs of older versions.
    pub fn id(&self) -> Option<u64> {
        self.id.get()
    }

    /// Whether a path is that of a file that a run reads again, in the directory of a run.
    pub fn has_file(path: &Path) -> bool {
        let path = behind_links(path).unwrap_or(path.to_owned());
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| FILES.contains(&name)) && directory(&path).join(CONFIG).is_file()
    }

    /// Path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes the files that are known before the first step.
    ///
    /// # Errors
    /// If writing fails.
    pub fn begin(
        &self,
        config: &Config,
        environment: &Environment,
        choices: &[Choices],
        classes: &[String],
    ) -> Result<(), RunError> {
        self.id.set(Some(config.run_id()));
        // Of an attempt that was lost before it was saved.
        self.results.set(None);
        self.best_weights.set(None);
        self.update_config(config)?;
        self.write(ENVIRONMENT, &pretty(environment))?;
        self.write_choices(choices)?;
        self.write(CLASSES, &lines(classes))?;
        self.write(METRICS, &format!("{CSV_HEADER}\n"))
    }

    /// Writes the configuration, and those of the other files that can be written again and are
    /// missing or damaged, for a run that resumes from a state; and the environment and the choices of
    /// a run whose number of ranks has changed. Returns notes on what was missing or damaged.
    ///
    /// # Errors
    /// If writing fails.
    pub fn begin_again(
        &self,
        config: &Config,
        environment: &Environment,
        choices: Option<&[Choices]>,
        classes: &[String],
    ) -> Result<Vec<String>, RunError> {
        self.update_config(config)?;
        if let Some(choices) = choices {
            self.write(ENVIRONMENT, &pretty(environment))?;
            self.write_choices(choices)?;
        } else if self.file(CHOICES).exists() {
            let choices = self.read(CHOICES)?;
            self.needed.borrow_mut().insert(CHOICES, choices);
        }
        let mut notes = Vec::new();
        if !self.file(ENVIRONMENT).exists() {
            self.write(ENVIRONMENT, &pretty(environment))?;
            notes.push(format!("{ENVIRONMENT} was missing and is written again"));
        }
        let text = lines(classes);
        let was = match files::read(&self.file(CLASSES), LARGEST_TEXT) {
            Ok(bytes) if bytes == text.as_bytes() => return Ok(notes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "was missing",
            _ => "was damaged",
        };
        self.write(CLASSES, &text)?;
        notes.push(format!("{CLASSES} {was} and is written again"));
        Ok(notes)
    }

    fn write_choices(&self, choices: &[Choices]) -> Result<(), RunError> {
        let text = match choices {
            [one] => pretty(one),
            several => pretty(&several),
        };
        self.write_needed(CHOICES, text)
    }

    fn update_config(&self, config: &Config) -> Result<(), RunError> {
        self.write_needed(CONFIG, config.file_text(self.id()))
    }

    fn write_needed(&self, name: &'static str, text: String) -> Result<(), RunError> {
        self.write(name, &text)?;
        self.needed.borrow_mut().insert(name, text);
        Ok(())
    }

    /// Writes needed files again that were removed.
    fn restore_needed(&self) -> Result<(), RunError> {
        let needed = self.needed.borrow();
        let mut removed = needed.iter().filter(|(name, _)| !self.file(name).exists());
        removed.try_for_each(|(name, text)| self.write(name, text))
    }

    /// The configuration, and whether a user has changed it since the program wrote it.
    ///
    /// # Errors
    /// If it is missing or damaged, or no run is possible with it.
    pub fn config(&self) -> Result<(Config, bool), RunError> {
        let text = self.read(CONFIG)?;
        let config = Config::from_toml(&text).map_err(|reason| {
            self.damaged(format!(
                "{CONFIG} cannot be used: {reason}; correct or restore it"
            ))
        })?;
        let is_changed = !config.is_as_written(&text);
        self.id.set(Config::run_id_in(&text));
        Ok((config, is_changed))
    }

    /// The kernels of the run on each of its devices; `None` if the run ended before they were
    /// recorded.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn choices(&self) -> Result<Option<Vec<Choices>>, RunError> {
        let Some(recorded) = self.json::<serde_json::Value>(CHOICES)? else {
            return Ok(None);
        };
        let read = match recorded.is_array() {
            true => serde_json::from_value(recorded),
            false => serde_json::from_value(recorded).map(|one| vec![one]),
        };
        Ok(Some(
            read.map_err(|error| self.damaged_json(CHOICES, &error))?,
        ))
    }

    /// A JSON document in it; `None` if the file does not exist.
    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, RunError> {
        if !self.file(name).exists() {
            return Ok(None);
        }
        let text = self.read(name)?;
        let value = serde_json::from_str(&text);
        value.map_err(|error| self.damaged_json(name, &error))
    }

    fn damaged_json(&self, name: &str, error: &serde_json::Error) -> RunError {
        let cause = printable(&error.to_string());
        self.damaged(format!("{name} is damaged: {cause}; restore it"))
    }

    fn damaged(&self, reason: String) -> RunError {
        RunError::Damaged {
            path: self.path.clone(),
            reason,
        }
    }

    fn read(&self, name: &str) -> Result<String, RunError> {
        files::read_text(&self.file(name), LARGEST_RECORD)
            .map_err(|error| self.unreadable(name, &error))
    }

    fn unreadable(&self, name: &str, error: &io::Error) -> RunError {
        let advice = limit_advice(error).unwrap_or(match error.kind() {
            // Not UTF-8.
            io::ErrorKind::InvalidData => "restore it",
            io::ErrorKind::FileTooLarge => "move it elsewhere",
            _ => "check its permissions, or restore it",
        });
        self.damaged(format!("{name} cannot be read: {error}; {advice}"))
    }

    /// Writes a file by `write`, which gets its path.
    ///
    /// # Errors
    /// If another process has the lock, there is something else than a file, or writing fails; also
    /// if the directory was removed meanwhile.
    fn put(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> Result<(), CheckpointError>,
    ) -> Result<(), RunError> {
        let written = self.target(name).and_then(|path| Ok(write(&path)?));
        written.map_err(|error| match self.path.exists() {
            true => error,
            false => self.damaged(
                "it was removed or renamed during the run; give it its name again and resume, or \
                 start a new run"
                    .to_owned(),
            ),
        })
    }

    /// The path of a file that is about to be written.
    ///
    /// # Errors
    /// If another process has the lock, or there is something else than a file.
    fn target(&self, name: &str) -> Result<PathBuf, RunError> {
        self.keep_lock()?;
        let path = self.file(name);
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => {
                Err(self.damaged(format!("{name} is not a regular file; move it elsewhere")))
            }
            _ => Ok(path),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), RunError> {
        self.put(name, |path| {
            write_atomically(path, |file| file.write_all(text.as_bytes()))
        })
    }
}

/// The configuration: the first file of a run.
const CONFIG: &str = "config.toml";

/// Files that are read again.
const FILES: [&str; 10] = [
    CONFIG,
    ENVIRONMENT,
    CHOICES,
    CLASSES,
    METRICS,
    EVENTS,
    STATE,
    LAST,
    BEST,
    LOCK,
];

/// Bytes of a record at most: the events of more than a million epochs.
const LARGEST_RECORD: u64 = 1 << 30;

/// Software and hardware.
const ENVIRONMENT: &str = "environment.json";

/// The kernels in use.
const CHOICES: &str = "choices.json";

/// Class names.
const CLASSES: &str = "classes.txt";

fn take_lock(path: &Path) -> Result<Lock, RunError> {
    Lock::take(path).map_err(|error| match error {
        LockError::Held(process) => RunError::InUse {
            path: path.to_owned(),
            process,
        },
        LockError::Io(source) => failed(&path.join(LOCK))(source),
    })
}

/// The text of [`CLASSES`].
fn lines(classes: &[String]) -> String {
    let lines = classes.iter().map(|class| printable(class) + "\n");
    lines.collect()
}

/// Names of the files in a directory.
fn entries(directory: &Path) -> Result<Vec<String>, RunError> {
    let name =
        |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    let entries = fs::read_dir(directory).and_then(|entries| entries.map(name).collect());
    entries.map_err(failed(directory))
}

/// The error of a system call on a path.
fn failed(path: &Path) -> impl Fn(io::Error) -> RunError + '_ {
    |source| RunError::Directory {
        path: path.to_owned(),
        source,
    }
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("plain data is always JSON") + "\n"
}

/// Creates `NAME-N` in a directory, with N above all existing numbers. No two processes create the
/// same.
fn create_next(directory: &Path, name: &str) -> Result<PathBuf, RunError> {
    fs::create_dir_all(directory).map_err(failed(directory))?;
    let prefix = format!("{name}-");
    let taken = fs::read_dir(directory).into_iter().flatten().flatten();
    let numbers = taken.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(&prefix)?.parse::<u64>().ok()
    });
    let mut number = numbers.max().unwrap_or(0);
    loop {
        let next = number.checked_add(1).ok_or(io::ErrorKind::AlreadyExists);
        number = next.map_err(|kind| failed(directory)(kind.into()))?;
        let path = directory.join(format!("{prefix}{number}"));
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path)(error)),
        }
    }
}
