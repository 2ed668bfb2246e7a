//! Checkpoints as the command line reads them.

use std::path::Path;

use super::error::CliError;
use super::network::NetworkArgs;
use crate::checkpoint::Checkpoint;
use crate::model::{Description, Network};
use crate::trained_model::TrainedModel;

/// Reads a checkpoint; the network comes from flags, else from its metadata, else from its
/// tensors' shapes.
///
/// # Errors
/// If the file is damaged, holds NaN or infinities, or is of another network.
pub(super) fn load(path: &Path, flags: &NetworkArgs) -> Result<TrainedModel, CliError> {
    let path = match path.is_dir() {
        // A run directory stands for its best weights.
        true => &path.join("best.safetensors"),
        false => path,
    };
    let checkpoint = Checkpoint::load(path)?;
    let in_file = |text: String| CliError::Checkpoint(format!("{}: {text}", path.display()));
    let mut wanted = None;
    if flags.any() {
        let written = Description::read(&checkpoint.metadata);
        let written = written.map_err(|e| in_file(e.to_string()))?;
        let spec = flags.resolve(written.map(|d| d.network.classes))?;
        // What is wrong with the flags is not wrong with the file.
        Network::new(&spec)?;
        wanted = Some(spec);
    }
    TrainedModel::read(checkpoint, wanted).map_err(|e| in_file(e.to_string()))
}
