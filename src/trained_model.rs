//! A network with its weights, read from our checkpoints or inferred from those of other programs.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, CheckpointError, StoredTensor, Values};
use crate::data::DatasetKind;
use crate::engine::Tensors;
use crate::model::{
    Description, Network, NetworkSpec, ParameterRole, Preprocessing, SpecError, check, infer,
};

/// A network and its tensors.
pub struct TrainedModel {
    /// Network, classes, preprocessing.
    pub description: Description,
    /// Layers.
    pub network: Network,
    /// Parameters and running statistics.
    pub tensors: Tensors,
    /// Whether the checkpoint had a description. If not, classes are named by their indices and
    /// the preprocessing uses CIFAR-10's mean and standard deviation.
    pub described: bool,
}

/// Why a checkpoint cannot be loaded as a model.
#[derive(Debug, thiserror::Error)]
pub enum TrainedModelError {
    /// The file is damaged, or holds NaN or infinities.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The network cannot be determined, or the tensors do not fit it.
    #[error(transparent)]
    Network(#[from] SpecError),
}

impl TrainedModel {
    /// Loads a checkpoint as `network`, else as the network in its metadata, else as the one
    /// inferred from the shapes of its tensors.
    ///
    /// # Errors
    /// If it holds NaN or infinities, its network cannot be determined, or its tensors do not fit
    /// the network.
    pub fn read(
        checkpoint: Checkpoint,
        network: Option<NetworkSpec>,
    ) -> Result<TrainedModel, TrainedModelError> {
        checkpoint.check_finite()?;
        let shapes = checkpoint.shapes();
        let written = Description::read(&checkpoint.metadata)?;
        let described = written.is_some();
        let spec = match (network, &written) {
            (Some(spec), _) => spec,
            (None, Some(description)) => description.network.clone(),
            (None, None) => infer(&shapes)?,
        };
        let network = Network::new(&spec)?;
        check(&network, &shapes)?;
        let description = match written {
            Some(mut description) => {
                let resize = &mut description.preprocessing.resize;
                *resize = match *resize == description.network.resize() {
                    true => spec.resize(),
                    false => resize.scaled_to(spec.image_size),
                };
                description.network = spec;
                description
            }
            None => undescribed(spec),
        };
        Ok(TrainedModel {
            description,
            network,
            tensors: floats(checkpoint.tensors),
            described,
        })
    }
}

/// The description assumed for a checkpoint without one: numbered classes, CIFAR-10's mean and
/// standard deviation.
fn undescribed(spec: NetworkSpec) -> Description {
    let published = DatasetKind::Cifar10.manifest().published;
    let published = published.expect("CIFAR-10's manifest has mean and standard deviation");
    Description {
        classes: (0..spec.classes).map(|c| c.to_string()).collect(),
        preprocessing: Preprocessing::new(&spec, published.mean, published.std),
        network: spec,
    }
}

/// The `f32` tensors; integer ones, which count batches, are dropped.
pub fn floats(tensors: BTreeMap<String, StoredTensor>) -> Tensors {
    let real = |(name, tensor): (String, StoredTensor)| match tensor.into_parts() {
        (_, Values::F32(values)) => Some((name, values)),
        (_, Values::I64(_)) => None,
    };
    tensors.into_iter().filter_map(real).collect()
}

/// A checkpoint with every tensor that PyTorch expects, including `num_batches_tracked`, the
/// number of batches in the running statistics.
///
/// # Panics
/// If a tensor of the network is missing, which is a bug.
pub fn checkpoint(
    network: &Network,
    description: &Description,
    weights: &Tensors,
    batches_tracked: u64,
) -> Checkpoint {
    let tensors = network.parameters().into_iter().map(|parameter| {
        let tensor = match parameter.role {
            ParameterRole::BatchesTracked => {
                StoredTensor::i64(parameter.shape, vec![batches_tracked as i64])
            }
            _ => StoredTensor::f32(parameter.shape, weights[&parameter.name].clone()),
        };
        (parameter.name, tensor)
    });
    let mut checkpoint = Checkpoint {
        tensors: tensors.collect(),
        metadata: BTreeMap::new(),
    };
    description.write(&mut checkpoint.metadata);
    checkpoint
}
