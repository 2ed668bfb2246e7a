//! Reads the checkpoints named on the command line.

use std::path::{Path, PathBuf};

use super::error::CliError;
use super::network::NetworkArgs;
use super::output::print_message;
use crate::checkpoint::Checkpoint;
use crate::model::{Description, Network, NetworkSpec, SpecError, infer};
use crate::run::RunDirectory;
use crate::text::printable_path;
use crate::trained_model::TrainedModel;

/// Reads a checkpoint. The network comes from the metadata, otherwise from the shapes of the
/// tensors, and flags override its fields.
///
/// # Errors
/// If the file is damaged, holds NaN or infinities, or belongs to another network; if a flag
/// contradicts the metadata and has no effect.
pub(super) fn load(
    path: &Path,
    flags: &NetworkArgs,
    for_inference: bool,
) -> Result<TrainedModel, CliError> {
    let (path, checkpoint) = open(path)?;
    say_notes(&path, &checkpoint);
    if !flags.any() {
        return TrainedModel::read(checkpoint, None).map_err(|e| in_file(&path, e));
    }
    let written = Description::read(&checkpoint.metadata).map_err(|e| in_file(&path, e))?;
    let written = written.map(|description| description.network);
    // Without a description, flags that describe a whole network say what the tensors are.
    let must_change = written.is_some() || !flags.describe_all();
    let own = match written {
        Some(own) => Some(own),
        None => match infer(&checkpoint.shapes()) {
            Err(error) if must_change => return Err(in_file(&path, error)),
            inferred => inferred.ok(),
        },
    };
    if for_inference {
        flags.check_inference(own.as_ref())?;
    }
    let spec = flags.resolve_for(own.as_ref())?;
    if let Some(own) = own.filter(|_| must_change) {
        let changed: Vec<&str> = flags.changes(&own).collect();
        if !changed.is_empty() && have_same_layers(&own, &spec)? {
            return Err(CliError::Usage(format!(
                "{} differs from the checkpoint's but gives the same network; leave it out",
                changed.join(", ")
            )));
        }
    }
    read_as(&path, checkpoint, spec)
}

/// Whether two specifications differ in nothing that is computed.
fn have_same_layers(a: &NetworkSpec, b: &NetworkSpec) -> Result<bool, SpecError> {
    Ok(Network::new(a)?.layers().eq(Network::new(b)?.layers()))
}

/// Reads a checkpoint of a given network.
///
/// # Errors
/// If the network is illegal, or the file is damaged, holds NaN or infinities, or belongs to
/// another network.
pub(super) fn load_as(path: &Path, spec: NetworkSpec) -> Result<TrainedModel, CliError> {
    let (path, checkpoint) = open(path)?;
    say_notes(&path, &checkpoint);
    read_as(&path, checkpoint, spec)
}

/// Opens a checkpoint; a run directory means its best weights.
fn open(path: &Path) -> Result<(PathBuf, Checkpoint), CliError> {
    let path = match path.is_dir() {
        true => best_weights(path)?,
        false => path.to_owned(),
    };
    let checkpoint = Checkpoint::load(&path)?;
    Ok((path, checkpoint))
}

/// Reads a checkpoint again, as the network that it holds.
///
/// # Errors
/// If the file is damaged, or holds NaN or infinities.
pub(super) fn load_again(path: &Path) -> Result<TrainedModel, CliError> {
    let (path, checkpoint) = open(path)?;
    TrainedModel::read(checkpoint, None).map_err(|e| in_file(&path, e))
}

fn say_notes(path: &Path, checkpoint: &Checkpoint) {
    for note in &checkpoint.notes {
        print_message(&format!("note: {}: {note}", printable_path(path)));
    }
}

/// The best weights of a run.
///
/// # Errors
/// If the directory is not that of a run, or the run has completed no epoch.
fn best_weights(directory: &Path) -> Result<PathBuf, CliError> {
    let best = directory.join("best.safetensors");
    if best.exists() {
        return Ok(best);
    }
    RunDirectory::open(directory)?;
    Err(CliError::Checkpoint(format!(
        "{} has no best.safetensors: the run has not completed an epoch, or the file was removed; \
         train further with --resume, or name another checkpoint, such as its last.safetensors",
        printable_path(directory)
    )))
}

fn read_as(
    path: &Path,
    checkpoint: Checkpoint,
    spec: NetworkSpec,
) -> Result<TrainedModel, CliError> {
    // An error in the flags must not be reported as one in the file.
    Network::new(&spec)?;
    TrainedModel::read(checkpoint, Some(spec)).map_err(|e| in_file(path, e))
}

fn in_file(path: &Path, error: impl std::fmt::Display) -> CliError {
    CliError::Checkpoint(format!("{}: {error}", printable_path(path)))
}
