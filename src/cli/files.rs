//! Reads the checkpoints named on the command line.

use std::path::{Path, PathBuf};

use super::error::CliError;
use super::network::NetworkArgs;
use crate::checkpoint::Checkpoint;
use crate::model::{Description, Network, NetworkSpec, infer};
use crate::text::printable_path;
use crate::trained_model::TrainedModel;

/// Reads a checkpoint. The network comes from the metadata, otherwise from the shapes of the
/// tensors, and flags override its fields.
///
/// # Errors
/// If the file is damaged, holds NaN or infinities, or belongs to another network.
pub(super) fn load(path: &Path, flags: &NetworkArgs) -> Result<TrainedModel, CliError> {
    let (path, checkpoint) = open(path)?;
    if !flags.any() {
        return TrainedModel::read(checkpoint, None).map_err(|e| in_file(&path, e));
    }
    let written = Description::read(&checkpoint.metadata).map_err(|e| in_file(&path, e))?;
    let own = written.map(|description| description.network);
    let own = own.or_else(|| infer(&checkpoint.shapes()).ok());
    let spec = flags.resolve_for(own)?;
    read_as(&path, checkpoint, spec)
}

/// Reads a checkpoint of a given network.
///
/// # Errors
/// If the network is illegal, or the file is damaged, holds NaN or infinities, or belongs to
/// another network.
pub(super) fn load_as(path: &Path, spec: NetworkSpec) -> Result<TrainedModel, CliError> {
    let (path, checkpoint) = open(path)?;
    read_as(&path, checkpoint, spec)
}

/// Opens a checkpoint; a run directory means its best weights.
fn open(path: &Path) -> Result<(PathBuf, Checkpoint), CliError> {
    let path = match path.is_dir() {
        true => path.join("best.safetensors"),
        false => path.to_owned(),
    };
    let checkpoint = Checkpoint::load(&path)?;
    Ok((path, checkpoint))
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
