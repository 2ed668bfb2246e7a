//! Networks of Caffe (`.caffemodel`): the layers of a `NetParameter` to named tensors.
//!
//! Source: `caffe.proto`, of which only the fields needed here are declared. Layers are identified
//! by their type, or by their blobs where an old file has no type for them. A batch norm divides
//! its sums by its third blob, and the layer `Scale` after it has weight and bias. A convolution
//! whose weights are all zero only widens a shortcut and is left out.

use std::io::Read;

use prost::Message;

use super::header::unreadable;
use super::layer_names::{BatchNorm, Item, Layer, check_epsilon, check_max_pooling, named, odd};
use super::{Checkpoint, CheckpointError, Format, StoredTensor, Values, elements, safetensors};
use crate::memory;
use crate::text::printable;

#[derive(Clone, PartialEq, Message)]
struct NetParameter {
    /// Layers before the version 2 of the schema.
    #[prost(message, repeated, tag = "2")]
    layers: Vec<V1LayerParameter>,
    #[prost(message, repeated, tag = "100")]
    layer: Vec<LayerParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct LayerParameter {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(message, repeated, tag = "7")]
    blobs: Vec<BlobProto>,
    #[prost(message, optional, tag = "106")]
    convolution: Option<ConvolutionParameter>,
    #[prost(message, optional, tag = "121")]
    pooling: Option<PoolingParameter>,
    #[prost(message, optional, tag = "139")]
    batch_norm: Option<BatchNormParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct V1LayerParameter {
    #[prost(string, tag = "4")]
    name: String,
    #[prost(int32, tag = "5")]
    kind: i32,
    #[prost(message, repeated, tag = "6")]
    blobs: Vec<BlobProto>,
    #[prost(message, optional, tag = "10")]
    convolution: Option<ConvolutionParameter>,
    #[prost(message, optional, tag = "19")]
    pooling: Option<PoolingParameter>,
}

#[derive(Clone, PartialEq, Message)]
struct ConvolutionParameter {
    #[prost(uint32, repeated, packed = "false", tag = "6")]
    stride: Vec<u32>,
    #[prost(uint32, optional, tag = "13")]
    stride_rows: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    group: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct PoolingParameter {
    /// 0 is the maximum.
    #[prost(int32, tag = "1")]
    pool: i32,
    #[prost(uint32, optional, tag = "2")]
    kernel: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    stride: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    padding: Option<u32>,
    /// 0 rounds up, 1 rounds down.
    #[prost(int32, tag = "13")]
    round_mode: i32,
}

#[derive(Clone, PartialEq, Message)]
struct BatchNormParameter {
    #[prost(float, optional, tag = "3")]
    eps: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobProto {
    /// Extents before the version 2 of the schema.
    #[prost(int32, optional, tag = "1")]
    num: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    channels: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    height: Option<i32>,
    #[prost(int32, optional, tag = "4")]
    width: Option<i32>,
    #[prost(float, repeated, tag = "5")]
    data: Vec<f32>,
    #[prost(message, optional, tag = "7")]
    shape: Option<BlobShape>,
    #[prost(double, repeated, tag = "8")]
    double_data: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct BlobShape {
    #[prost(int64, repeated, tag = "1")]
    dim: Vec<i64>,
}

/// Axes of a blob.
const MAX_AXES: usize = 8;

/// Reads a file of `len` bytes.
///
/// # Errors
/// If it is damaged or holds no network that can be read.
pub(super) fn read(reader: &mut impl Read, len: u64) -> Result<Checkpoint, CheckpointError> {
    // The file, and the numbers decoded from it.
    memory::check(len.saturating_mul(2))?;
    let mut bytes = memory::zeros::<u8>(len as usize)?;
    reader.read_exact(&mut bytes).map_err(unreadable)?;
    let network = NetParameter::decode(&*bytes).map_err(|cause| CheckpointError::Damaged {
        reason: printable(&cause.to_string()),
    })?;
    drop(bytes);
    let modern = network.layer.into_iter().map(LayerParameter::described);
    let early = network.layers.into_iter().map(V1LayerParameter::described);
    let mut layers = Layers::default();
    let mut ceil_mode = None;
    for layer in modern.chain(early) {
        if let Some(pooling @ PoolingParameter { pool: 0, .. }) = &layer.pooling {
            // The defaults of the schema are stride 1 and padding 0.
            let padding = pooling.padding.unwrap_or(0);
            let window = pooling
                .kernel
                .map(|k| [k, pooling.stride.unwrap_or(1), padding]);
            check_max_pooling(window)?;
            ceil_mode = Some(pooling.round_mode != 1);
        }
        layers.push(layer)?;
    }
    Ok(Checkpoint {
        tensors: named(layers.items())?,
        format: Format::Caffe {
            ceil_mode: ceil_mode.unwrap_or(true),
        },
        ..Checkpoint::default()
    })
}

/// A layer of either version of the schema.
struct Described {
    name: String,
    kind: Kind,
    blobs: Vec<BlobProto>,
    convolution: Option<ConvolutionParameter>,
    epsilon: Option<f32>,
    pooling: Option<PoolingParameter>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Convolution,
    BatchNorm,
    Scale,
    InnerProduct,
    /// A layer that should have no blobs.
    Other,
}

impl LayerParameter {
    fn described(self) -> Described {
        let kind = match self.kind.as_str() {
            "Convolution" => Kind::Convolution,
            "BatchNorm" => Kind::BatchNorm,
            "Scale" => Kind::Scale,
            "InnerProduct" => Kind::InnerProduct,
            "" => Kind::of(&self.blobs),
            _ => Kind::Other,
        };
        Described {
            kind,
            convolution: self.convolution,
            epsilon: self.batch_norm.and_then(|parameter| parameter.eps),
            name: self.name,
            blobs: self.blobs,
            pooling: self.pooling,
        }
    }
}

impl V1LayerParameter {
    fn described(self) -> Described {
        let kind = match self.kind {
            4 => Kind::Convolution,
            14 => Kind::InnerProduct,
            // The schema has no numbers for batch norm and scale.
            _ => Kind::of(&self.blobs),
        };
        Described {
            kind,
            convolution: self.convolution,
            epsilon: None,
            name: self.name,
            blobs: self.blobs,
            pooling: self.pooling,
        }
    }
}

impl Kind {
    /// The kind of a layer without type, by its blobs.
    fn of(blobs: &[BlobProto]) -> Kind {
        let axes = blobs.first().map_or(0, |blob| blob.extents().len());
        match (blobs.len(), axes) {
            (0, _) => Kind::Other,
            (3, _) => Kind::BatchNorm,
            (_, 4) => Kind::Convolution,
            (_, 2) => Kind::InnerProduct,
            _ => Kind::Scale,
        }
    }
}

impl BlobProto {
    /// The extents without leading ones of the four that old files have.
    fn extents(&self) -> Vec<i64> {
        if let Some(shape) = &self.shape {
            return shape.dim.clone();
        }
        let old = [self.num, self.channels, self.height, self.width];
        let all: Vec<i64> = old.into_iter().flatten().map(i64::from).collect();
        let ones = all.iter().take_while(|extent| **extent == 1).count();
        // A kernel of one output channel keeps its axes.
        match all.len() - ones {
            0..=2 => all[ones.min(all.len().saturating_sub(1))..].to_vec(),
            _ => all,
        }
    }

    /// The tensor; `layer` is for errors.
    fn tensor(self, layer: &str) -> Result<StoredTensor, CheckpointError> {
        let extents = self.extents();
        if extents.len() > MAX_AXES {
            let reason = format!("a blob of the layer `{layer}` has {} axes", extents.len());
            return Err(CheckpointError::Damaged { reason });
        }
        let values = match self.double_data.is_empty() {
            true => self.data,
            false => safetensors::narrow(layer, &self.double_data)?,
        };
        let shape: Option<Vec<usize>> = extents
            .iter()
            .map(|extent| usize::try_from(*extent).ok())
            .collect();
        let count = shape.as_deref().and_then(elements);
        match shape {
            Some(shape) if count == Some(values.len()) => Ok(StoredTensor::f32(shape, values)),
            _ => Err(CheckpointError::Damaged {
                reason: format!(
                    "a blob of the layer `{layer}` has {} numbers and the extents {extents:?}",
                    values.len()
                ),
            }),
        }
    }
}

/// The layers with parameters so far, in groups: a unit begins at a batch norm that follows
/// another one.
#[derive(Default)]
struct Layers {
    groups: Vec<Vec<Layer>>,
    /// The number before the first underscore in the name of the last convolution, which [its
    /// authors](https://github.com/jhkim89/PyramidNet-caffe) count stages with.
    stage: Option<u32>,
}

impl Layers {
    fn push(&mut self, layer: Described) -> Result<(), CheckpointError> {
        let name = printable(&layer.name);
        let count = layer.blobs.len();
        let blobs = layer.blobs.into_iter().map(|blob| blob.tensor(&name));
        let mut blobs = blobs.collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut next = || blobs.next();
        let missing = || CheckpointError::Damaged {
            reason: format!("the layer `{name}` has {count} blobs"),
        };
        match layer.kind {
            Kind::Other if count == 0 => {}
            Kind::Other => return Err(CheckpointError::Layer { kind: name }),
            Kind::Convolution => {
                let weight = next().ok_or_else(missing)?;
                let is_zero = match weight.values() {
                    Values::F32(values) => values.iter().all(|value| *value == 0.0),
                    Values::I64(_) => false,
                };
                if weight.shape().ends_with(&[1, 1]) && is_zero {
                    return Ok(());
                }
                let parameter = layer.convolution.unwrap_or_default();
                if let Some(groups) = parameter.group.filter(|groups| *groups > 1) {
                    return Err(odd(&format!("a convolution of {groups} groups")));
                }
                let stage = stage(&layer.name);
                let begins_stage = self.stage.is_some() && stage.is_some() && stage != self.stage;
                self.stage = stage;
                self.add(Layer::Convolution {
                    weight,
                    bias: next(),
                    stride: parameter.stride.first().copied().or(parameter.stride_rows),
                    begins_stage,
                    is_shortcut: false,
                });
            }
            Kind::BatchNorm => {
                let (mean, variance) = (next().ok_or_else(missing)?, next().ok_or_else(missing)?);
                let factor = next().ok_or_else(missing)?.into_f32(&name)?;
                let divide = |tensor: StoredTensor| {
                    let shape = tensor.shape().to_vec();
                    let values = tensor.into_f32(&name)?;
                    let scale = match factor.first() {
                        Some(factor) if *factor != 0.0 => 1.0 / f64::from(*factor),
                        _ => 0.0,
                    };
                    let values = values
                        .iter()
                        .map(|value| (f64::from(*value) * scale) as f32);
                    Ok::<_, CheckpointError>(StoredTensor::f32(shape, values.collect()))
                };
                if matches!(self.last(), Some(Layer::BatchNorm(_))) || self.groups.is_empty() {
                    self.groups.push(Vec::new());
                }
                let epsilon = layer.epsilon.map_or(BatchNorm::EPSILON, f64::from);
                check_epsilon(epsilon)?;
                let norm = BatchNorm {
                    weight: None,
                    bias: None,
                    mean: divide(mean)?,
                    variance: divide(variance)?,
                    epsilon,
                };
                self.add(Layer::BatchNorm(Box::new(norm)));
            }
            Kind::Scale => match self.last() {
                Some(Layer::BatchNorm(norm)) if norm.weight.is_none() => {
                    norm.weight = next();
                    norm.bias = next();
                }
                _ => return Err(CheckpointError::Layer { kind: name }),
            },
            Kind::InnerProduct => {
                let weight = next().ok_or_else(missing)?;
                self.add(Layer::Linear {
                    weight,
                    bias: next(),
                });
            }
        }
        Ok(())
    }

    fn last(&mut self) -> Option<&mut Layer> {
        self.groups.last_mut()?.last_mut()
    }

    fn add(&mut self, layer: Layer) {
        match self.groups.last_mut() {
            Some(group) => group.push(layer),
            None => self.groups.push(vec![layer]),
        }
    }

    /// The first group is the stem, the last the head.
    fn items(self) -> Vec<Item> {
        let last = self.groups.len().saturating_sub(1);
        let groups = self.groups.into_iter().enumerate();
        let items = groups.flat_map(|(number, group)| match number {
            _ if number == 0 || number == last => group.into_iter().map(Item::Layer).collect(),
            _ => vec![Item::Unit(group)],
        });
        items.collect()
    }
}

/// The stage in the name of a convolution of a unit, such as 2 of `conv2_1_1`.
fn stage(name: &str) -> Option<u32> {
    let (stage, rest) = name.strip_prefix("conv")?.split_once('_')?;
    rest.contains('_').then(|| stage.parse().ok())?
}
