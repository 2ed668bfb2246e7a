//! A network with its weights, read from our checkpoints or inferred from those of other programs.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, CheckpointError, Format, StoredTensor, Values};
use crate::data::DatasetKind;
use crate::engine::Tensors;
use crate::graph::ops::ChannelOrder;
use crate::model::{
    Description, Network, NetworkSpec, Parameter, ParameterRole, Preprocessing, SpecError, Stem,
    check, infer, numbered_classes,
};

/// A network and its tensors.
pub struct TrainedModel {
    /// Network, classes, preprocessing.
    pub description: Description,
    /// Layers.
    pub network: Network,
    /// Parameters and running statistics.
    pub tensors: Tensors,
    /// Number of batches in the running statistics; 0 if the checkpoint does not record it.
    pub batches_tracked: u64,
    /// Whether the checkpoint had a description. If not, classes are named by their indices and
    /// the preprocessing is that of the program of its format.
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
    /// the network (see [`network_tensors`]).
    pub fn read(
        checkpoint: Checkpoint,
        network: Option<NetworkSpec>,
    ) -> Result<TrainedModel, TrainedModelError> {
        checkpoint.check_finite()?;
        let written = Description::read(&checkpoint.metadata)?;
        let described = written.is_some();
        let mut spec = match (network, &written) {
            (Some(spec), _) => spec,
            (None, Some(description)) => description.network.clone(),
            (None, None) => infer(&checkpoint.shapes())?,
        };
        if let Format::Caffe { ceil_mode } | Format::Torch7 { ceil_mode } = checkpoint.format {
            spec.ceil_mode = ceil_mode && spec.stem == Stem::ImageNet;
        }
        let network = Network::new(&spec)?;
        let batches_tracked = batches_tracked(&checkpoint.tensors);
        let tensors = network_tensors(&network, checkpoint.tensors)?;
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
            None => undescribed(spec, checkpoint.format),
        };
        Ok(TrainedModel {
            description,
            network,
            tensors,
            batches_tracked,
            described,
        })
    }
}

/// Mean and standard deviation of ImageNet's red, green and blue on the scale 0 to 1
/// (fb.resnet.torch).
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

/// What the authors' Caffe networks take: blue, green and red less these means of the scale 0 to
/// 255, times a scale (PyramidNet-caffe).
const CAFFE_MEAN: [f32; 3] = [123.0, 117.0, 104.0];
const CAFFE_SCALE: f32 = 0.017352;

/// The description assumed for a checkpoint without one: numbered classes, and the preprocessing
/// of its authors' program for networks of its stem and classes.
fn undescribed(spec: NetworkSpec, format: Format) -> Description {
    let preprocessing = match (format, spec.stem) {
        (Format::Caffe { .. }, _) => Preprocessing {
            order: ChannelOrder::Bgr,
            ..Preprocessing::new(&spec, CAFFE_MEAN, [1.0 / CAFFE_SCALE; 3])
        },
        (_, Stem::ImageNet) => {
            let (mean, std) = IMAGENET;
            Preprocessing::new(&spec, mean.map(|m| 255.0 * m), std.map(|s| 255.0 * s))
        }
        (_, Stem::Cifar) => {
            // The authors' PyTorch program uses CIFAR-10's constants for CIFAR-100 as well.
            let dataset = match format {
                Format::Torch7 { .. } if spec.classes == 100 => DatasetKind::Cifar100,
                _ => DatasetKind::Cifar10,
            };
            let constants = dataset.manifest().constants;
            let constants = constants.expect("CIFAR's manifests have mean and standard deviation");
            Preprocessing::new(&spec, constants.mean, constants.std)
        }
    };
    Description {
        classes: numbered_classes(spec.classes),
        preprocessing,
        network: spec,
    }
}

/// The largest counter of batches; 0 if there is none.
fn batches_tracked(tensors: &BTreeMap<String, StoredTensor>) -> u64 {
    let counters = tensors
        .iter()
        .filter(|(name, _)| name.ends_with(".num_batches_tracked"));
    let counts = counters.filter_map(|(_, tensor)| match tensor.values() {
        Values::I64(counts) => u64::try_from(*counts.first()?).ok(),
        Values::F32(counts) => counts.first().map(|count| *count as u64),
    });
    counts.max().unwrap_or(0)
}

/// The values of a network's tensors, without the counters of batches.
///
/// # Errors
/// If a tensor is missing, has another shape or type, or is not the network's, or if a running
/// variance or a counter is negative.
pub fn network_tensors(
    network: &Network,
    mut tensors: BTreeMap<String, StoredTensor>,
) -> Result<Tensors, TrainedModelError> {
    let shapes = tensors.iter();
    let shapes = shapes.map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()));
    check(network, &shapes.collect())?;
    let mut values = Tensors::new();
    for Parameter { name, role, .. } in network.parameters() {
        // `check` found all but counters, which may be missing.
        let Some(tensor) = tensors.remove(&name) else {
            continue;
        };
        match role {
            ParameterRole::BatchesTracked => check_counter(&name, tensor)?,
            _ => {
                let numbers = tensor.into_f32(&name)?;
                if role == ParameterRole::RunningVar {
                    check_variance(&name, &numbers)?;
                }
                values.insert(name, numbers);
            }
        }
    }
    Ok(values)
}

fn check_counter(name: &str, tensor: StoredTensor) -> Result<(), CheckpointError> {
    match tensor.values() {
        // Programs that average or convert all tensors of a dictionary leave such counters.
        Values::F32(counts) => match counts.iter().position(|count| *count < 0.0) {
            None => Ok(()),
            Some(index) => Err(CheckpointError::Impossible {
                name: name.to_owned(),
                value: f64::from(counts[index]),
                index,
                rule: "a number of batches is not negative; use another checkpoint",
            }),
        },
        Values::I64(counts) => match counts.iter().position(|count| *count < 0) {
            None => Ok(()),
            Some(index) => Err(CheckpointError::Impossible {
                name: name.to_owned(),
                value: counts[index] as f64,
                index,
                rule: "a number of batches is not negative; use another checkpoint",
            }),
        },
    }
}

fn check_variance(name: &str, variances: &[f32]) -> Result<(), CheckpointError> {
    match variances.iter().position(|variance| *variance < 0.0) {
        None => Ok(()),
        Some(index) => Err(CheckpointError::Impossible {
            name: name.to_owned(),
            value: f64::from(variances[index]),
            index,
            rule: "a variance is not negative; use another checkpoint",
        }),
    }
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
        ..Checkpoint::default()
    };
    description.write(&mut checkpoint.metadata);
    checkpoint
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::initial_values;

    fn network() -> Network {
        Network::new(&NetworkSpec::pyramid(Stem::Cifar, 8, 8.0)).unwrap()
    }

    fn tensors() -> BTreeMap<String, StoredTensor> {
        let network = network();
        let weights = initial_values(&network, 0).into_iter().collect();
        checkpoint(
            &network,
            &undescribed(network.spec().clone(), Format::Safetensors),
            &weights,
            3,
        )
        .tensors
    }

    #[test]
    fn the_tensors_of_a_network_are_taken() {
        let network = network();
        let values = network_tensors(&network, tensors()).unwrap();
        let (counters, others): (Vec<_>, Vec<_>) = network
            .parameters()
            .into_iter()
            .partition(|parameter| parameter.role == ParameterRole::BatchesTracked);
        assert_eq!(values.len(), others.len());
        let mut without = tensors();
        let mut extended = tensors();
        for Parameter { name, .. } in counters {
            without.remove(&name);
            extended.insert(name, StoredTensor::i64(vec![1], vec![5]));
        }
        assert_eq!(network_tensors(&network, without).unwrap(), values);
        assert_eq!(network_tensors(&network, extended).unwrap(), values);
    }

    #[test]
    fn what_cannot_be_is_named() {
        let with = |name: &str, tensor: StoredTensor| {
            let mut tensors = tensors();
            tensors.insert(name.to_owned(), tensor);
            let error = network_tensors(&network(), tensors).err();
            error.expect(name).to_string()
        };
        let text = with("fc.bias", StoredTensor::i64(vec![10], vec![0; 10]));
        assert!(text.contains("`fc.bias`") && text.contains("I64"), "{text}");
        let mut variances = vec![1.0; 16];
        variances[3] = -1e-6;
        let text = with("bn1.running_var", StoredTensor::f32(vec![16], variances));
        assert!(text.contains("`bn1.running_var`"), "{text}");
        assert!(
            text.contains("-1e-6") || text.contains("at index 3"),
            "{text}"
        );
        let counter = "bn1.num_batches_tracked";
        let text = with(counter, StoredTensor::i64(vec![], vec![-2]));
        assert!(text.contains(counter) && text.contains("-2"), "{text}");
        let text = with(counter, StoredTensor::f32(vec![], vec![-2.0]));
        assert!(text.contains(counter) && text.contains("-2"), "{text}");
        let text = with("ema.fc.bias", StoredTensor::f32(vec![1], vec![0.0]));
        assert!(text.contains("`ema.fc.bias` [1]"), "{text}");
    }
}
