//! Networks as ONNX models, for inference in other programs.
//!
//! The input `input` [N, 3, H, W] is a batch of normalised images, the output `logits`
//! [N, classes]; N is chosen at run time. Both are in single precision. The names of nodes and
//! initialisers are those of the checkpoint. The model's metadata has, as JSON, `classes`; `channels`,
//! rgb or bgr; `mean` and `std` of red, green and blue on the scale 0 to 1; `resize_shorter_side` and
//! `crop` in pixels; and the checkpoint's description.

mod schema;

use half::f16;
use prost::Message;
use serde_json::json;

use crate::checkpoint::first_not_finite;
use crate::graph::ops::BranchRule;
use crate::model::{BATCH_NORM_EPSILON, Description, Layer, LayerKind, Shortcut, Unit};
use crate::trained_model::TrainedModel;
use schema::{
    AttributeProto, DataType, Dimension, GraphProto, IR_VERSION, ModelProto, NodeProto, OPSET,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};

/// Protocol buffers hold no more bytes.
const MOST_BYTES: usize = i32::MAX as usize;

/// How a network is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Multiplies the weights of convolutions by the batch norm that follows them, which saves the
    /// batch norm. Those before a convolution remain.
    pub fold_batch_norm: bool,
    /// Stores weights and computes in half precision.
    pub half: bool,
}

/// Why a network cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// It is too large.
    #[error(
        "the network has {bytes} bytes, an ONNX file holds at most {MOST_BYTES}; half precision \
         (--half) takes half of them"
    )]
    Size {
        /// Bytes of the model.
        bytes: usize,
    },
    /// A weight exceeds half precision.
    #[error("`{name}` has the value {value:e}, which half precision cannot hold; leave out --half")]
    Overflow {
        /// Name of the tensor.
        name: String,
        /// The first such value.
        value: f32,
    },
    /// A folded weight exceeds single precision.
    #[error(
        "`{name}` has the value {value:e} when the batch norm after it is folded into it; leave out \
         --fold"
    )]
    Fold {
        /// Name of the tensor.
        name: String,
        /// The first such value.
        value: f32,
    },
}

/// The bytes of the ONNX model of a network.
///
/// # Errors
/// If it has more bytes than the format holds, or a weight exceeds half precision or, folded, single
/// precision.
pub fn to_bytes(model: &TrainedModel, options: Options) -> Result<Vec<u8>, OnnxError> {
    let mut writer = Writer {
        model,
        options,
        graph: GraphProto {
            name: "PyramidNet".to_owned(),
            ..GraphProto::default()
        },
    };
    writer.network()?;
    let description = &model.description;
    let document = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "pyr-wgpu".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(writer.graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata(description),
    };
    match document.encoded_len() {
        bytes if bytes > MOST_BYTES => Err(OnnxError::Size { bytes }),
        _ => Ok(document.encode_to_vec()),
    }
}

/// The description of the checkpoint, and its parts under names of their own.
fn metadata(description: &Description) -> Vec<StringStringEntryProto> {
    let mut pairs = std::collections::BTreeMap::new();
    description.write(&mut pairs);
    let preprocessing = &description.preprocessing;
    let on_unit_scale = |values: [f32; 3]| values.map(|value| f64::from(value) / 255.0);
    let parts = json!({
        "classes": description.classes,
        "channels": preprocessing.order,
        "mean": on_unit_scale(preprocessing.mean),
        "std": on_unit_scale(preprocessing.std),
        "resize_shorter_side": preprocessing.resize.shorter_side,
        "crop": preprocessing.resize.size,
    });
    let parts = parts.as_object().expect("it is an object above");
    pairs.extend(
        parts
            .iter()
            .map(|(key, value)| (key.clone(), value.to_string())),
    );
    let pairs = pairs.into_iter();
    pairs
        .map(|(key, value)| StringStringEntryProto { key, value })
        .collect()
}

/// Appends the layers of a network to a graph.
struct Writer<'a> {
    model: &'a TrainedModel,
    options: Options,
    graph: GraphProto,
}

impl<'a> Writer<'a> {
    fn network(&mut self) -> Result<(), OnnxError> {
        let network = &self.model.network;
        let size = network.spec().image_size as usize;
        self.graph.input = vec![value("input", &[3, size, size])];
        self.graph.output = vec![value("logits", &[network.spec().classes as usize])];
        let mut x = "input".to_owned();
        if self.options.half {
            x = self.cast(&x, "input.half", DataType::Float16);
        }
        x = self.sequence(&network.stem, x)?;
        for unit in &network.units {
            x = self.unit(unit, x)?;
        }
        x = self.sequence(&network.head, x)?;
        match self.options.half {
            true => self.cast(&x, "logits", DataType::Float),
            false => {
                let last = self.graph.node.last_mut();
                let last = last.expect("a network has layers");
                last.output = vec!["logits".to_owned()];
                x
            }
        };
        Ok(())
    }

    fn unit(&mut self, unit: &Unit, x: String) -> Result<String, OnnxError> {
        let lead = self.sequence(&unit.lead, x)?;
        let branch = self.sequence(&unit.branch, lead.clone())?;
        let name = &unit.name;
        let shortcut = match &unit.shortcut {
            Shortcut::Identity => lead,
            Shortcut::Projection(layer) => self.sequence(std::slice::from_ref(layer), lead)?,
            Shortcut::PoolAndPad {
                stride,
                input_channels,
                output_channels,
            } => {
                let mut x = lead;
                if *stride > 1 {
                    let extents = ints("kernel_shape", &[*stride; 2]);
                    let strides = ints("strides", &[*stride; 2]);
                    // The last window of an odd extent averages what lies inside.
                    let attributes = vec![extents, strides, int("ceil_mode", 1)];
                    x = self.node(&format!("{name}.pool"), "AveragePool", &[&x], attributes);
                }
                let appended = output_channels - input_channels;
                if appended > 0 {
                    let pads = format!("{name}.pads");
                    let values = [0, 0, 0, 0, 0, appended as i64, 0, 0];
                    self.graph.initializer.push(TensorProto {
                        dims: vec![8],
                        data_type: DataType::Int64 as i32,
                        name: pads.clone(),
                        raw_data: values
                            .iter()
                            .flat_map(|value| value.to_le_bytes())
                            .collect(),
                    });
                    x = self.node(&format!("{name}.pad"), "Pad", &[&x, &pads], vec![]);
                }
                x
            }
        };
        Ok(self.node(&format!("{name}.add"), "Add", &[&branch, &shortcut], vec![]))
    }

    fn sequence(&mut self, layers: &[Layer], mut x: String) -> Result<String, OnnxError> {
        let mut layers = layers.iter().peekable();
        while let Some(layer) = layers.next() {
            let is_convolution = matches!(layer.kind, LayerKind::Convolution { .. });
            let follows = |next: &&Layer| matches!(next.kind, LayerKind::BatchNorm { .. });
            x = match layers
                .next_if(|next| self.options.fold_batch_norm && is_convolution && follows(next))
            {
                Some(norm) => self.folded(layer, norm, x)?,
                None => self.layer(layer, x)?,
            };
        }
        Ok(x)
    }

    fn layer(&mut self, layer: &Layer, x: String) -> Result<String, OnnxError> {
        let name = &layer.name;
        let tensor = |suffix: &str| format!("{name}.{suffix}");
        let (kind, operands, attributes) = match layer.kind {
            LayerKind::Convolution { .. } => {
                let weight = tensor("weight");
                self.initializer(&weight, &kernel_of(layer), self.values(&weight))?;
                ("Conv", vec![weight], window_of(layer))
            }
            LayerKind::BatchNorm { channels } => {
                let names = ["weight", "bias", "running_mean", "running_var"].map(tensor);
                for name in &names {
                    self.initializer(name, &[channels], self.values(name))?;
                }
                let epsilon = AttributeProto {
                    name: "epsilon".to_owned(),
                    f: Some(BATCH_NORM_EPSILON),
                    kind: 1,
                    ..AttributeProto::default()
                };
                ("BatchNormalization", names.to_vec(), vec![epsilon])
            }
            LayerKind::Relu => ("Relu", vec![], vec![]),
            LayerKind::MaxPool { ceil_mode, .. } => {
                let mut attributes = window_of(layer);
                attributes.push(int("ceil_mode", i64::from(ceil_mode)));
                ("MaxPool", vec![], attributes)
            }
            LayerKind::GlobalAveragePool => {
                let x = self.node(name, "GlobalAveragePool", &[&x], vec![]);
                return Ok(self.node(&tensor("flatten"), "Flatten", &[&x], vec![]));
            }
            // It has an effect in training only.
            LayerKind::Dropout { .. }
            | LayerKind::ScaleBranch {
                rule: BranchRule::StochasticDepth,
                ..
            } => return Ok(x),
            LayerKind::ScaleBranch { survival, .. } => {
                let expectation = tensor("expectation");
                self.initializer(&expectation, &[], &[survival as f32])?;
                ("Mul", vec![expectation], vec![])
            }
            LayerKind::Linear { inputs, outputs } => {
                let names = ["weight", "bias"].map(tensor);
                for (name, extents) in names.iter().zip([&[outputs, inputs][..], &[outputs]]) {
                    self.initializer(name, extents, self.values(name))?;
                }
                ("Gemm", names.to_vec(), vec![int("transB", 1)])
            }
        };
        let mut inputs = vec![x.as_str()];
        inputs.extend(operands.iter().map(String::as_str));
        Ok(self.node(name, kind, &inputs, attributes))
    }

    /// A convolution with the batch norm after it: weights times gamma / sqrt(variance + epsilon),
    /// and a bias.
    fn folded(&mut self, layer: &Layer, norm: &Layer, x: String) -> Result<String, OnnxError> {
        let of = |suffix: &str| self.values(&format!("{}.{suffix}", norm.name));
        let wide = |value: &f32| f64::from(*value);
        let statistics = of("running_mean").iter().zip(of("running_var"));
        let affine = of("weight").iter().zip(of("bias"));
        let pairs = statistics
            .zip(affine)
            .map(|((mean, variance), (gamma, beta))| {
                let scale = wide(gamma) / (wide(variance) + f64::from(BATCH_NORM_EPSILON)).sqrt();
                (scale, wide(beta) - wide(mean) * scale)
            });
        let (scales, offsets): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let [weight, bias] = ["weight", "bias"].map(|suffix| format!("{}.{suffix}", layer.name));
        let values = self.values(&weight);
        let kernels = values.chunks(values.len() / scales.len()).zip(&scales);
        let scaled = kernels.flat_map(|(kernel, scale)| {
            kernel.iter().map(move |value| (wide(value) * scale) as f32)
        });
        let scaled: Vec<f32> = scaled.collect();
        let offsets: Vec<f32> = offsets.iter().map(|offset| *offset as f32).collect();
        for (name, values) in [(&weight, &scaled), (&bias, &offsets)] {
            if let Some((_, value)) = first_not_finite(values) {
                let name = name.clone();
                return Err(OnnxError::Fold { name, value });
            }
        }
        self.initializer(&weight, &kernel_of(layer), &scaled)?;
        self.initializer(&bias, &[offsets.len()], &offsets)?;
        Ok(self.node(&layer.name, "Conv", &[&x, &weight, &bias], window_of(layer)))
    }

    fn values(&self, name: &str) -> &'a [f32] {
        &self.model.tensors[name]
    }

    fn initializer(
        &mut self,
        name: &str,
        extents: &[usize],
        values: &[f32],
    ) -> Result<(), OnnxError> {
        let (data_type, raw_data) = match self.options.half {
            false => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes());
                (DataType::Float, bytes.collect())
            }
            true => {
                let overflows = |value: &&f32| f16::from_f32(**value).is_infinite();
                if let Some(value) = values.iter().find(overflows) {
                    return Err(OnnxError::Overflow {
                        name: name.to_owned(),
                        value: *value,
                    });
                }
                let halves = values.iter().map(|value| f16::from_f32(*value));
                let bytes = halves.flat_map(|half| half.to_le_bytes());
                (DataType::Float16, bytes.collect())
            }
        };
        self.graph.initializer.push(TensorProto {
            dims: extents.iter().map(|extent| *extent as i64).collect(),
            data_type: data_type as i32,
            name: name.to_owned(),
            raw_data,
        });
        Ok(())
    }

    fn cast(&mut self, x: &str, output: &str, to: DataType) -> String {
        self.node(output, "Cast", &[x], vec![int("to", to as i64)]);
        let node = self.graph.node.last_mut().expect("it was just added");
        node.output = vec![output.to_owned()];
        output.to_owned()
    }

    /// Appends a node; the name of its result.
    fn node(
        &mut self,
        name: &str,
        kind: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let output = format!("{name}.output");
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.clone()],
            name: name.to_owned(),
            op_type: kind.to_owned(),
            attribute,
        });
        output
    }
}

/// Extents of a convolution's weights: outputs, inputs, rows, columns.
fn kernel_of(layer: &Layer) -> [usize; 4] {
    match layer.kind {
        LayerKind::Convolution {
            input_channels,
            output_channels,
            kernel,
            ..
        } => [output_channels, input_channels, kernel, kernel],
        _ => unreachable!("{} is no convolution", layer.name),
    }
}

/// Kernel, strides and padding of a convolution or pooling.
fn window_of(layer: &Layer) -> Vec<AttributeProto> {
    match layer.kind {
        LayerKind::Convolution {
            kernel,
            stride,
            padding,
            ..
        }
        | LayerKind::MaxPool {
            kernel,
            stride,
            padding,
            ..
        } => vec![
            ints("kernel_shape", &[kernel; 2]),
            ints("strides", &[stride; 2]),
            ints("pads", &[padding; 4]),
        ],
        _ => Vec::new(),
    }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: Some(value),
        kind: 2,
        ..AttributeProto::default()
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        ints: values.iter().map(|value| *value as i64).collect(),
        kind: 7,
        ..AttributeProto::default()
    }
}

/// An input or output: a batch of single-precision values of these extents.
fn value(name: &str, extents: &[usize]) -> ValueInfoProto {
    let batch = Dimension {
        dim_value: None,
        dim_param: Some("N".to_owned()),
    };
    let extents = extents.iter().map(|extent| Dimension {
        dim_value: Some(*extent as i64),
        dim_param: None,
    });
    ValueInfoProto {
        name: name.to_owned(),
        kind: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: DataType::Float as i32,
                shape: Some(TensorShapeProto {
                    dim: std::iter::once(batch).chain(extents).collect(),
                }),
            }),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Network, NetworkSpec, Preprocessing, Stem, initial_values, numbered_classes,
    };

    fn untrained(spec: NetworkSpec) -> TrainedModel {
        let network = Network::new(&spec).unwrap();
        TrainedModel {
            description: Description {
                classes: numbered_classes(spec.classes),
                preprocessing: Preprocessing::new(&spec, [127.0; 3], [64.0; 3]),
                network: spec,
            },
            tensors: initial_values(&network, 1).into_iter().collect(),
            network,
            batches_tracked: 0,
            described: true,
        }
    }

    /// How often a network's graph has an operator.
    fn count(spec: NetworkSpec, options: Options, operator: &str) -> usize {
        let model = untrained(spec);
        let bytes = to_bytes(&model, options).unwrap();
        let graph = ModelProto::decode(&*bytes).unwrap().graph.unwrap();
        let nodes = graph.node.iter();
        nodes.filter(|node| node.op_type == operator).count()
    }

    /// Evaluation multiplies the branch of each unit by ShakeDrop's expectation; stochastic depth
    /// leaves it as it is.
    #[test]
    fn branches_are_scaled_with_shakedrop_only() {
        let plain = NetworkSpec::pyramid(Stem::Cifar, 8, 8.0);
        let shakedrop = NetworkSpec {
            shakedrop: 0.5,
            ..plain.clone()
        };
        let stochastic_depth = NetworkSpec {
            stochastic_depth: 0.5,
            ..plain.clone()
        };
        for (fold_batch_norm, half) in [(false, false), (true, true)] {
            let options = Options {
                fold_batch_norm,
                half,
            };
            for (spec, expected) in [(&plain, 0), (&shakedrop, 3), (&stochastic_depth, 0)] {
                assert_eq!(count(spec.clone(), options, "Mul"), expected, "{spec}");
            }
        }
    }

    #[test]
    fn folded_values_beyond_single_precision_are_refused() {
        let refused = |suffix: &str, value: f32, half: bool| {
            let mut model = untrained(NetworkSpec::pyramid(Stem::Cifar, 8, 8.0));
            let mut set = |suffix: &str, value: f32| {
                let name = format!("bn1.{suffix}");
                model.tensors.get_mut(&name).unwrap()[0] = value;
            };
            set("running_var", 0.0);
            set(suffix, value);
            let options = |fold_batch_norm| Options {
                fold_batch_norm,
                half,
            };
            assert!(half || to_bytes(&model, options(false)).is_ok());
            to_bytes(&model, options(true)).unwrap_err().to_string()
        };
        for half in [false, true] {
            for (suffix, value, name) in [
                ("weight", 3e38, "`conv1.weight` has the value"),
                ("running_mean", 1e37, "`conv1.bias` has the value -inf"),
                ("bias", f32::NAN, "`conv1.bias` has the value NaN"),
            ] {
                let error = refused(suffix, value, half);
                assert!(error.starts_with(name), "{error}");
                assert!(error.ends_with("leave out --fold"), "{error}");
            }
        }
    }
}
