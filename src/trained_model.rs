//! A network with its weights: what a checkpoint of ours holds, and what can be found out
//! about one of others.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, CheckpointError, StoredTensor, Values};
use crate::data::DatasetKind;
use crate::engine::Tensors;
use crate::model::{
    Description, Network, NetworkSpec, ParameterRole, Preprocessing, SpecError, check, infer,
};

/// A network and tensors that fit it.
pub struct TrainedModel {
    /// Network, classes, preprocessing.
    pub description: Description,
    /// Its layers.
    pub network: Network,
    /// Parameters and running statistics.
    pub tensors: Tensors,
    /// Whether the file described itself; else classes are numbers and the preprocessing is
    /// CIFAR-10's.
    pub described: bool,
}

/// Why a checkpoint is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TrainedModelError {
    /// The file is damaged, or holds NaN or infinities.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The network cannot be told, or the tensors are not its.
    #[error(transparent)]
    Network(#[from] SpecError),
}

impl TrainedModel {
    /// Takes a checkpoint's network from `network`, else from its metadata, else from the
    /// shapes of its tensors.
    ///
    /// # Errors
    /// If it holds NaN or infinities, its network cannot be told, or its tensors are of
    /// another one.
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
                *resize = resize.scaled_to(spec.image_size);
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

/// What we assume of a file that says nothing: numbered classes, CIFAR-10's constants.
fn undescribed(spec: NetworkSpec) -> Description {
    let published = DatasetKind::Cifar10.manifest().published;
    let (mean, std) = published.map_or(([127.5; 3], [127.5; 3]), |p| (p.mean, p.std));
    Description {
        classes: (0..spec.classes).map(|c| c.to_string()).collect(),
        preprocessing: Preprocessing::new(&spec, mean, std),
        network: spec,
    }
}

/// The tensors of real numbers.
pub fn floats(tensors: BTreeMap<String, StoredTensor>) -> Tensors {
    let real = |(name, tensor): (String, StoredTensor)| match tensor.into_parts() {
        (_, Values::F32(values)) => Some((name, values)),
        (_, Values::I64(_)) => None,
    };
    tensors.into_iter().filter_map(real).collect()
}

/// A checkpoint of weights, complete as other programs expect it: with the number of batches
/// that the running statistics have seen.
///
/// # Panics
/// If a tensor of the network is missing: a mistake of ours.
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
