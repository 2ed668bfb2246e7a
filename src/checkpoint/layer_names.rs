//! Names for the layers of files that have none, or others: those of the authors' PyTorch code.
//!
//! A network is the stem, residual units, the last batch norm and the classifier. A unit that
//! halves the extents begins a stage; in a unit, a convolution and the batch norm before it have
//! the same number.

use std::collections::BTreeMap;

use super::{CheckpointError, StoredTensor, Values};

/// A layer with parameters, or one that tells the structure.
pub(super) enum Layer {
    /// A convolution [outputs, inputs, rows, columns], whose bias must be zero.
    Convolution {
        weight: StoredTensor,
        bias: Option<StoredTensor>,
        /// Its stride, if the file tells.
        stride: Option<u32>,
        /// Whether it begins a stage by its name.
        begins_stage: bool,
        /// Whether it is the projection of a shortcut.
        is_shortcut: bool,
    },
    BatchNorm(Box<BatchNorm>),
    /// Average pooling of a shortcut, which halves the extents.
    Pooling,
    /// The classifier [classes, features].
    Linear {
        weight: StoredTensor,
        bias: Option<StoredTensor>,
    },
}

/// A batch norm; weight 1 and bias 0 if it has none.
pub(super) struct BatchNorm {
    pub(super) weight: Option<StoredTensor>,
    pub(super) bias: Option<StoredTensor>,
    pub(super) mean: StoredTensor,
    pub(super) variance: StoredTensor,
    pub(super) epsilon: f64,
}

impl BatchNorm {
    /// Added to the variance by every batch norm of these networks.
    pub(super) const EPSILON: f64 = 1e-5;
}

/// A part of a network.
pub(super) enum Item {
    /// A layer of the stem or the head.
    Layer(Layer),
    /// A residual unit.
    Unit(Vec<Layer>),
}

/// The tensors under the names of the authors' PyTorch code.
///
/// # Errors
/// If a convolution has a bias that is not zero, or a layer lies where no such network has it.
pub(super) fn named(items: Vec<Item>) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    let mut names = Names::default();
    let (mut stage, mut index) = (0, 0);
    // PreResNet's units end with a convolution, and its last batch norm has another name.
    let mut ends_with_convolution = false;
    for item in items {
        match item {
            Item::Unit(layers) => {
                let halves = |layer: &Layer| match layer {
                    Layer::Convolution {
                        stride,
                        begins_stage,
                        ..
                    } => *stride == Some(2) || *begins_stage,
                    Layer::Pooling => true,
                    _ => false,
                };
                index += 1;
                if stage == 0 || layers.iter().any(halves) {
                    (stage, index) = (stage + 1, 0);
                }
                ends_with_convolution = names.unit(&format!("layer{stage}.{index}"), layers)?;
            }
            Item::Layer(Layer::Convolution {
                weight,
                bias,
                stride,
                ..
            }) if stage == 0 => {
                let expected = if weight.shape().ends_with(&[7, 7]) {
                    2
                } else {
                    1
                };
                if let Some(stride) = stride.filter(|stride| *stride != expected) {
                    return Err(odd(&format!("a first convolution of stride {stride}")));
                }
                names.convolution("conv1", weight, bias)?;
            }
            Item::Layer(Layer::BatchNorm(norm)) => {
                let name = match (stage, ends_with_convolution) {
                    (0, _) => "bn1",
                    (_, true) => "bn2",
                    (_, false) => "bn_final",
                };
                names.batch_norm(name, *norm)?;
            }
            Item::Layer(Layer::Linear { weight, bias }) => names.linear(weight, bias)?,
            Item::Layer(Layer::Pooling) => {}
            Item::Layer(Layer::Convolution { .. }) => {
                return Err(odd("a convolution after the units"));
            }
        }
    }
    Ok(names.tensors)
}

/// Checks what a batch norm adds to the variance.
///
/// # Errors
/// If it is not positive.
pub(super) fn check_epsilon(epsilon: f64) -> Result<(), CheckpointError> {
    match epsilon > 0.0 && epsilon.is_finite() {
        true => Ok(()),
        false => Err(odd(&format!("a batch norm with epsilon {epsilon}"))),
    }
}

/// Checks kernel, stride and padding of the stem's max pooling, if the file has them.
///
/// # Errors
/// If they are not those of the networks.
pub(super) fn check_max_pooling(window: Option<[u32; 3]>) -> Result<(), CheckpointError> {
    match window.filter(|window| *window != [3, 2, 1]) {
        None => Ok(()),
        Some([kernel, stride, padding]) => Err(odd(&format!(
            "max pooling of {kernel}x{kernel} with stride {stride} and padding {padding}"
        ))),
    }
}

pub(super) fn odd(what: &str) -> CheckpointError {
    CheckpointError::Structure {
        reason: what.to_owned(),
    }
}

#[derive(Default)]
struct Names {
    tensors: BTreeMap<String, StoredTensor>,
}

impl Names {
    fn insert(&mut self, name: String, tensor: StoredTensor) -> Result<(), CheckpointError> {
        match self.tensors.insert(name.clone(), tensor) {
            None => Ok(()),
            Some(_) => Err(odd(&format!("two layers in the place of `{name}`"))),
        }
    }

    /// Names the layers of a unit; whether its branch ends with a convolution.
    fn unit(&mut self, unit: &str, layers: Vec<Layer>) -> Result<bool, CheckpointError> {
        let mut number = 1;
        let mut ends_with_convolution = false;
        for layer in layers {
            match layer {
                Layer::Convolution {
                    weight,
                    bias,
                    is_shortcut: true,
                    ..
                } => self.convolution(&format!("{unit}.downsample.0"), weight, bias)?,
                Layer::Convolution {
                    weight,
                    bias,
                    stride,
                    ..
                } => {
                    if let Some(stride) = stride.filter(|stride| !(1..=2).contains(stride)) {
                        return Err(odd(&format!("a convolution of stride {stride}")));
                    }
                    self.convolution(&format!("{unit}.conv{number}"), weight, bias)?;
                    number += 1;
                    ends_with_convolution = true;
                }
                Layer::BatchNorm(norm) => {
                    self.batch_norm(&format!("{unit}.bn{number}"), *norm)?;
                    ends_with_convolution = false;
                }
                Layer::Pooling => {}
                Layer::Linear { .. } => return Err(odd("a classifier inside a unit")),
            }
        }
        Ok(ends_with_convolution)
    }

    fn convolution(
        &mut self,
        name: &str,
        weight: StoredTensor,
        bias: Option<StoredTensor>,
    ) -> Result<(), CheckpointError> {
        let bias = bias.map_or(Ok(Vec::new()), |bias| bias.into_f32(name))?;
        if bias.iter().any(|value| *value != 0.0) {
            return Err(odd(&format!("a bias of the convolution `{name}`")));
        }
        self.insert(format!("{name}.weight"), weight)
    }

    fn batch_norm(&mut self, name: &str, norm: BatchNorm) -> Result<(), CheckpointError> {
        let shape = norm.mean.shape().to_vec();
        let constant = |value: f32| {
            let count = shape.iter().product();
            StoredTensor::f32(shape.clone(), vec![value; count])
        };
        let weight = norm.weight.unwrap_or_else(|| constant(1.0));
        let bias = norm.bias.unwrap_or_else(|| constant(0.0));
        let mut variance = norm.variance;
        // The sum of variance and epsilon is what counts.
        let excess = norm.epsilon - BatchNorm::EPSILON;
        if excess.abs() > 1e-3 * BatchNorm::EPSILON {
            let (shape, values) = variance.into_parts();
            let Values::F32(values) = values else {
                return Err(odd("variances that are integers"));
            };
            let values = values
                .iter()
                .map(|value| (f64::from(*value) + excess) as f32);
            variance = StoredTensor::f32(shape, values.collect());
        }
        self.insert(format!("{name}.weight"), weight)?;
        self.insert(format!("{name}.bias"), bias)?;
        self.insert(format!("{name}.running_mean"), norm.mean)?;
        self.insert(format!("{name}.running_var"), variance)
    }

    fn linear(
        &mut self,
        weight: StoredTensor,
        bias: Option<StoredTensor>,
    ) -> Result<(), CheckpointError> {
        let classes = weight.shape().first().copied().unwrap_or(0);
        let bias = bias.unwrap_or_else(|| StoredTensor::f32(vec![classes], vec![0.0; classes]));
        self.insert("fc.weight".to_owned(), weight)?;
        self.insert("fc.bias".to_owned(), bias)
    }
}
