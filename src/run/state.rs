//! The saved state of a run: written as a whole or not at all, read back with every value checked.
//!
//! `state.safetensors` is the state; replacing it is what saves. `last.safetensors` and
//! `best.safetensors` repeat its weights, or their averages if the run keeps any, for other programs
//! and are written after it;
//! [`RunDirectory::complete`] completes a save that was interrupted in between.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Config, RunDirectory, RunError};
use crate::checkpoint::{Checkpoint, StoredTensor, Values};
use crate::files;
use crate::model::{Description, Network, Parameter, ParameterRole, TensorKind};
use crate::rng::hash;
use crate::text::printable;
use crate::train::{Best, Position, Save, Snapshot};
use crate::trained_model::{TrainedModel, TrainedModelError, checkpoint, network_tensors};

/// Name of the file.
pub(super) const STATE: &str = "state.safetensors";
pub(super) const LAST: &str = "last.safetensors";
pub(super) const BEST: &str = "best.safetensors";

/// Metadata key of [`Progress`] in the state file.
const PROGRESS_KEY: &str = "pyr_wgpu_progress";
/// Metadata key of a hash of everything else in the state file; missing in older ones.
const CHECKSUM_KEY: &str = "pyr_wgpu_checksum";

/// What tells whether the data is still that of a run, besides its classes and the number of
/// training images, which [`Position::order`] has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRecord {
    /// Number of test images.
    pub test_images: usize,
    /// [`crate::data::fingerprint`] of the training and the test images.
    pub fingerprints: [u64; 2],
}

/// The metadata of the state file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Position of the run.
    pub position: Position,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// A hash of the weights of the best epoch; missing in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_weights: Option<u64>,
    /// A hash of the results of the last complete epoch; missing in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<u64>,
    /// [`RunDirectory::id`]; missing in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// The data; missing in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataRecord>,
    /// The configuration; missing in older files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Config>,
}

impl Progress {
    /// Whether the weights of this state are those of the best epoch.
    fn is_best(&self) -> bool {
        let ended = self.position.step == 0;
        ended
            && self
                .best
                .is_some_and(|b| b.epoch + 1 == self.position.epoch)
    }

    /// Checks what no run can have written.
    fn check(&self) -> Result<(), String> {
        self.position.check()?;
        match self.best {
            Some(best) if best.epoch == 0 || best.epoch >= self.position.epoch => Err(format!(
                "epoch {} cannot be the best in epoch {}",
                best.epoch, self.position.epoch
            )),
            Some(best) if !(0.0..=100.0).contains(&best.test_top1_error) => Err(format!(
                "a test error of {} % is impossible",
                best.test_top1_error
            )),
            _ => Ok(()),
        }
    }
}

/// A state as [`RunDirectory::load`] reads it.
#[derive(Clone, Debug)]
pub struct SavedState {
    /// What the trainer restores.
    pub snapshot: Snapshot,
    /// Progress of the run, with the snapshot's position.
    pub progress: Progress,
    /// Network, classes, preprocessing.
    pub description: Description,
}

impl RunDirectory {
    /// Saves a state of a session: `state.safetensors`, then its weights as `last.safetensors`
    /// and, after the best epoch so far, as `best.safetensors`.
    ///
    /// # Errors
    /// If writing fails. A file that could not be written keeps its previous contents;
    /// [`RunDirectory::complete`] makes up for the files after the state. If another process writes
    /// into the directory.
    pub fn save(
        &self,
        config: &Config,
        description: &Description,
        data: DataRecord,
        save: Save<'_>,
    ) -> Result<(), RunError> {
        let Save {
            network,
            snapshot,
            best,
        } = save;
        self.restore_needed()?;
        let mut progress = Progress {
            position: snapshot.position,
            best,
            best_weights: best.and(self.best_weights.get()),
            results: self.results.get(),
            run: self.id(),
            data: Some(data),
            config: Some(config.clone()),
        };
        let batches = snapshot.position.batches_tracked;
        let weights = checkpoint(network, description, snapshot.result(), batches);
        if progress.is_best() {
            progress.best_weights = Some(fingerprint(&weights));
            self.best_weights.set(progress.best_weights);
        }
        let mut state = checkpoint(network, description, &snapshot.weights, batches);
        let averages = snapshot.averages.iter().map(|t| (&TensorKind::Averages, t));
        for (kind, tensors) in snapshot.optimizer.iter().chain(averages) {
            let prefix = kind.prefix().expect("a snapshot holds what is stored");
            for parameter in stored(*kind, network) {
                let values = tensors[&parameter.name].clone();
                let name = format!("{prefix}{}", parameter.name);
                let tensor = StoredTensor::f32(parameter.shape, values);
                state.tensors.insert(name, tensor);
            }
        }
        let text = serde_json::to_string(&progress).expect("progress is plain data");
        state.metadata.insert(PROGRESS_KEY.to_owned(), text);
        let checksum = checksum(&state);
        state.metadata.insert(CHECKSUM_KEY.to_owned(), checksum);
        self.put(STATE, |path| state.save(path))?;
        let mut names = weight_files(&progress).into_iter();
        names.try_for_each(|name| self.put(name, |path| weights.save(path)))
    }

    /// Whether a state was saved; if not, the run resumes from its beginning.
    ///
    /// # Errors
    /// If there are weights, so that there was a state.
    pub fn has_state(&self) -> Result<bool, RunError> {
        let exists = |name: &&str| self.file(name).exists();
        match [LAST, BEST].iter().find(|name| exists(name)) {
            Some(name) if !exists(&STATE) => Err(self.damaged(format!(
                "it has {name} but no {STATE}; restore that file, or start a new run with \
                 --run-dir"
            ))),
            _ => Ok(exists(&STATE)),
        }
    }

    /// Reads the saved state.
    ///
    /// # Errors
    /// If the state is damaged, holds values that no run can have written, does not match `network`,
    /// or is that of another run.
    pub fn load(&self, network: &Network) -> Result<SavedState, RunError> {
        let state = Checkpoint::load(&self.file(STATE))?;
        let read = SavedState::read(state, network, &|reason| self.damaged(reason))?;
        if let (Some(saved), Some(own)) = (read.progress.run, self.id())
            && saved != own
        {
            return Err(self.damaged(format!(
                "{STATE} is that of another run; restore this run's, or continue that run in its \
                 own directory"
            )));
        }
        self.best_weights.set(read.progress.best_weights);
        self.results.set(read.progress.results);
        Ok(read)
    }

    /// The bytes of the saved state, for other ranks.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn state_bytes(&self) -> Result<Vec<u8>, RunError> {
        files::read(&self.file(STATE), u64::MAX).map_err(|error| self.unreadable(STATE, &error))
    }

    /// Completes an interrupted [`RunDirectory::save`]: writes the files that do not have the
    /// weights of the state, and returns their names.
    ///
    /// # Errors
    /// If writing fails.
    pub fn complete(
        &self,
        network: &Network,
        description: &Description,
        snapshot: &Snapshot,
        progress: &Progress,
    ) -> Result<Vec<&'static str>, RunError> {
        let batches = progress.position.batches_tracked;
        let weights = checkpoint(network, description, snapshot.result(), batches);
        let mut written = weight_files(progress);
        written.retain(|name| !matches!(Checkpoint::load(&self.file(name)), Ok(w) if w == weights));
        for name in &written {
            self.put(name, |path| weights.save(path))?;
        }
        Ok(written)
    }

    /// Checks the weights of the best epoch, which a later state does not hold; from a state of that
    /// epoch [`RunDirectory::complete`] writes them. Returns whether they are missing.
    ///
    /// # Errors
    /// If the file is damaged, or holds other weights.
    pub fn check_best(&self, state: &SavedState) -> Result<bool, RunError> {
        let path = self.file(BEST);
        let Some(best) = state.progress.best else {
            return match path.exists() {
                true => Err(self.damaged(format!(
                    "{BEST} is not that of {STATE}, which has no best epoch; move it elsewhere"
                ))),
                false => Ok(false),
            };
        };
        if state.progress.is_best() {
            return Ok(false);
        }
        if !path.exists() {
            return Ok(true);
        }
        let read = Checkpoint::load(&path).map_err(TrainedModelError::from);
        let read = read.and_then(|checkpoint| {
            let found = fingerprint(&checkpoint);
            Ok((found, TrainedModel::read(checkpoint, None)?))
        });
        let saved = state.progress.best_weights;
        let reason = match read {
            Ok((_, model)) if model.description != state.description => {
                "it has another network, other classes or another preprocessing".to_owned()
            }
            Ok((found, _)) if saved.is_some_and(|saved| saved != found) => {
                "it has those of another epoch or run".to_owned()
            }
            Ok(_) => return Ok(false),
            Err(error) => error.to_string(),
        };
        Err(self.damaged(format!(
            "{BEST} does not hold the weights of epoch {}: {reason}; restore it, or remove it, and \
             the best of the epochs from now on takes its place",
            best.epoch
        )))
    }
}

impl SavedState {
    /// Reads a state that [`RunDirectory::state_bytes`] has returned.
    ///
    /// # Errors
    /// As [`RunDirectory::load`].
    pub fn from_bytes(bytes: &[u8], network: &Network) -> Result<SavedState, RunError> {
        let refused = |reason| RunError::Damaged {
            path: STATE.into(),
            reason,
        };
        SavedState::read(Checkpoint::from_bytes(bytes)?, network, &refused)
    }

    /// Takes a state from a file; `refused` makes the error of one that cannot be used.
    fn read(
        mut state: Checkpoint,
        network: &Network,
        refused: &dyn Fn(String) -> RunError,
    ) -> Result<SavedState, RunError> {
        state.check_finite()?;
        let damaged =
            |reason: String| refused(format!("{STATE} is damaged: {reason}; restore the file"));
        let written = state.metadata.remove(CHECKSUM_KEY);
        let is_whole = written.is_none_or(|written| written == checksum(&state));
        let progress = state.metadata.get(PROGRESS_KEY);
        let progress = progress.ok_or_else(|| damaged("it has no position".to_owned()))?;
        let progress: Progress = serde_json::from_str(progress)
            .map_err(|error| printable(&error.to_string()))
            .map_err(|cause| damaged(format!("its position cannot be read: {cause}")))?;
        progress.check().map_err(damaged)?;
        let description = Description::read(&state.metadata)?
            .ok_or_else(|| damaged("it has no network description".to_owned()))?;
        if description.network != *network.spec() {
            return Err(refused(format!(
                "{STATE} is of the network {}, config.toml of {}; restore the one that was changed",
                description.network,
                network.spec()
            )));
        }
        let kinds = || TensorKind::optimizer_state().chain([TensorKind::Averages]);
        let is_optimizer = |name: &String| {
            let mut prefixes = kinds().filter_map(TensorKind::prefix);
            prefixes.any(|prefix| name.starts_with(prefix))
        };
        let (mut found, weights): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut state.tensors)
                .into_iter()
                .partition(|(name, _)| is_optimizer(name));
        let weights = network_tensors(network, weights)?;
        let mut optimizer = BTreeMap::new();
        let config = progress.config.as_ref();
        let keeps_averages = config.is_some_and(|config| config.recipe.ema.is_some());
        for kind in kinds().filter(|kind| *kind != TensorKind::Averages || keeps_averages) {
            let prefix = kind.prefix().expect("optimiser state is stored");
            let mut tensors = BTreeMap::new();
            for parameter in stored(kind, network) {
                let tensor = found.remove(&format!("{prefix}{}", parameter.name));
                let fits = |tensor: &StoredTensor| tensor.shape() == parameter.shape;
                let Some(tensor) = tensor.filter(fits) else {
                    let missing = kind.value_name(&parameter.name);
                    return Err(damaged(format!("it lacks {missing}")));
                };
                let name = kind.value_name(&parameter.name);
                tensors.insert(parameter.name, tensor.into_f32(&name)?);
            }
            optimizer.insert(kind, tensors);
        }
        // The last check: the others say more.
        if !is_whole {
            return Err(damaged(
                "its values are not those that were saved".to_owned(),
            ));
        }
        let snapshot = Snapshot {
            weights,
            averages: optimizer.remove(&TensorKind::Averages),
            optimizer,
            position: progress.position,
        };
        Ok(SavedState {
            snapshot,
            progress,
            description,
        })
    }
}

/// The tensors of a kind that a state stores.
fn stored(kind: TensorKind, network: &Network) -> Vec<Parameter> {
    let mut parameters = match kind {
        TensorKind::Averages => network.parameters(),
        _ => network.trained_parameters(),
    };
    parameters.retain(|parameter| parameter.role != ParameterRole::BatchesTracked);
    parameters
}

/// A hash of names and values.
fn fingerprint(weights: &Checkpoint) -> u64 {
    let bytes = |tensor: &StoredTensor| -> Vec<u8> {
        match tensor.values() {
            Values::F32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Values::I64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    };
    let tensors = weights.tensors.iter();
    hash(tensors.flat_map(|(name, tensor)| [name.as_bytes(), &bytes(tensor)].concat()))
}

/// A hash of tensors and metadata, in hexadecimal.
fn checksum(state: &Checkpoint) -> String {
    let shapes = state.tensors.iter();
    let shapes = shapes.map(|(name, tensor)| (name, tensor.shape()));
    let rest = (&state.metadata, shapes.collect::<Vec<_>>());
    let rest = serde_json::to_string(&rest).expect("plain data is always JSON");
    let sum = hash(rest.bytes().chain(fingerprint(state).to_le_bytes()));
    format!("{sum:016x}")
}

/// The files that repeat a state's weights.
fn weight_files(progress: &Progress) -> Vec<&'static str> {
    match progress.is_best() {
        true => vec![BEST, LAST],
        false => vec![LAST],
    }
}
