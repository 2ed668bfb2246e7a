//! Checkpoints as the command line reads them: tensors, network and classes.

use std::path::Path;

use super::error::CliError;
use super::network::NetworkArgs;
use crate::checkpoint::Checkpoint;
use crate::data::Manifest;
use crate::engine::Tensors;
use crate::model::{Description, Network, NetworkSpec, Preprocessing, check, infer};
use crate::run::floats;

/// A checkpoint that fits its network.
pub(super) struct Loaded {
    /// Network, classes, preprocessing.
    pub(super) description: Description,
    /// Its layers.
    pub(super) network: Network,
    /// Its tensors.
    pub(super) tensors: Tensors,
    /// Whether the file described itself; else classes are numbers and the preprocessing is
    /// CIFAR-10's.
    pub(super) described: bool,
}

/// Reads a checkpoint; the network comes from flags, else from its metadata, else from its
/// tensors' shapes.
///
/// # Errors
/// If the file is damaged, holds NaN or infinities, or is of another network.
pub(super) fn load(path: &Path, flags: &NetworkArgs) -> Result<Loaded, CliError> {
    let path = match path.is_dir() {
        // A run directory stands for its best weights.
        true => &path.join("best.safetensors"),
        false => path,
    };
    let checkpoint = Checkpoint::load(path)?;
    let in_file = |text: String| CliError::Checkpoint(format!("{}: {text}", path.display()));
    checkpoint
        .check_finite()
        .map_err(|e| in_file(e.to_string()))?;
    let shapes = checkpoint.shapes();
    let written = Description::read(&checkpoint.metadata).map_err(|e| in_file(e.to_string()))?;
    let described = written.is_some();
    let spec = match (&written, flags.any()) {
        (_, true) => flags.resolve(written.as_ref().map(|d| d.network.classes))?,
        (Some(description), false) => description.network.clone(),
        (None, false) => infer(&shapes).map_err(|e| in_file(e.to_string()))?,
    };
    let network = Network::new(&spec)?;
    check(&network, &shapes).map_err(|e| in_file(e.to_string()))?;
    let description = match written {
        Some(description) => Description {
            network: spec,
            ..description
        },
        None => undescribed(spec),
    };
    Ok(Loaded {
        description,
        network,
        tensors: floats(checkpoint.tensors),
        described,
    })
}

/// What we assume of a file that says nothing: numbered classes, CIFAR-10's constants.
fn undescribed(spec: NetworkSpec) -> Description {
    let published = Manifest::cifar10().published;
    let (mean, std) = published.map_or(([127.5; 3], [127.5; 3]), |p| (p.mean, p.std));
    Description {
        classes: (0..spec.classes).map(|c| c.to_string()).collect(),
        preprocessing: Preprocessing::new(&spec, mean, std),
        network: spec,
    }
}
