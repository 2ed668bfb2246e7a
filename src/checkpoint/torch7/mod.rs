//! Networks of Torch 7 (`.t7`): modules to named tensors.
//!
//! The modules of a PyramidNet or PreResNet have no names, but a depth-first walk meets their
//! layers in the order of the network, and every residual unit is a container with a
//! `ConcatTable`. [`layer_names`](super::layer_names) does the rest.

mod objects;

use std::io::{BufRead, Seek, SeekFrom};

use objects::{File, Object, Value, damaged};

use super::header::unreadable;
use super::layer_names::{BatchNorm, Item, Layer, check_epsilon, check_max_pooling, named};
use super::{Checkpoint, CheckpointError, Format, StoredTensor, elements};

/// Reads a file of `len` bytes.
///
/// # Errors
/// If it is damaged or holds no network that can be read.
pub(super) fn read(
    reader: &mut (impl BufRead + Seek),
    len: u64,
) -> Result<Checkpoint, CheckpointError> {
    let start = reader.stream_position().map_err(unreadable)?;
    let file = match File::read(reader, len, 8) {
        Ok(file) => file,
        Err((error @ CheckpointError::Damaged { .. }, unread)) => {
            // Perhaps a 32-bit system or Windows wrote it.
            reader.seek(SeekFrom::Start(start)).map_err(unreadable)?;
            let read = File::read(reader, len, 4);
            read.map_err(|(other, rest)| if rest < unread { other } else { error })?
        }
        Err((error, _)) => return Err(error),
    };
    let mut walk = Walk {
        file: &file,
        items: Vec::new(),
        unit: None,
        ceil_mode: None,
        modules: 0,
    };
    walk.module(walk.model()?, false, 0)?;
    Ok(Checkpoint {
        tensors: named(walk.items)?,
        format: Format::Torch7 {
            ceil_mode: walk.ceil_mode.unwrap_or(false),
        },
        ..Checkpoint::default()
    })
}

/// Deeper containers are refused: an object may contain itself.
const MAX_NESTING: usize = 100;

/// More modules are refused: a container may hold the same one many times.
const MAX_MODULES: usize = 100_000;

/// A depth-first walk over modules.
struct Walk<'a> {
    file: &'a File,
    items: Vec<Item>,
    /// Layers of the residual unit that the walk is in.
    unit: Option<Vec<Layer>>,
    /// Whether max pooling rounds its extents up; `None` before there is any.
    ceil_mode: Option<bool>,
    /// Modules visited.
    modules: usize,
}

impl<'a> Walk<'a> {
    /// The outermost module: the saved value, or its entry `model`, `net` or `network`.
    fn model(&self) -> Result<&'a Value, CheckpointError> {
        let root = &self.file.root;
        let fields = ["model", "net", "network"].map(|name| self.file.field(root, name));
        let mut candidates = [root].into_iter().chain(fields);
        let module = candidates
            .find(|value| matches!(self.file.object(value), Some(Object::Instance { .. })));
        module.ok_or(CheckpointError::OtherFormat {
            found: "this Torch 7 file holds no network",
            advice: "name the file of a model, such as model_best.t7",
        })
    }

    /// Visits a module; `is_shortcut` inside the second branch of a unit.
    fn module(
        &mut self,
        module: &Value,
        is_shortcut: bool,
        nesting: usize,
    ) -> Result<(), CheckpointError> {
        let file = self.file;
        let Some(Object::Instance { class, .. }) = file.object(module) else {
            return Err(damaged(
                "a container holds something that is not a module".to_owned(),
            ));
        };
        self.modules += 1;
        if nesting > MAX_NESTING || self.modules > MAX_MODULES {
            return Err(damaged(
                "its modules are nested too deeply, or too many".to_owned(),
            ));
        }
        let kind = class.rsplit('.').next().unwrap_or(class);
        let modules = file.field(module, "modules");
        if *modules != Value::Nil {
            let mut children = file.list(modules);
            // The others are copies of the first on further devices.
            if kind == "DataParallelTable" {
                children.truncate(1);
            }
            let is = |child: &&Value, name: &str| matches!(file.object(child), Some(Object::Instance { class, .. }) if class.ends_with(name));
            let begins_unit =
                self.unit.is_none() && children.iter().any(|child| is(child, ".ConcatTable"));
            if begins_unit {
                self.unit = Some(Vec::new());
            }
            for (number, child) in children.iter().enumerate() {
                let is_shortcut = is_shortcut || kind == "ConcatTable" && number > 0;
                self.module(child, is_shortcut, nesting + 1)?;
            }
            if begins_unit {
                let unit = self.unit.take().expect("the unit was begun above");
                self.items.push(Item::Unit(unit));
            }
            return Ok(());
        }
        match self.layer(module, kind, is_shortcut)? {
            None => {}
            Some(layer) => match &mut self.unit {
                Some(unit) => unit.push(layer),
                None => self.items.push(Item::Layer(layer)),
            },
        }
        Ok(())
    }

    /// The layer of a module without children; `None` if it has no parameters.
    fn layer(
        &mut self,
        module: &Value,
        kind: &str,
        is_shortcut: bool,
    ) -> Result<Option<Layer>, CheckpointError> {
        let field = |name: &str| self.file.field(module, name);
        let number = |name: &str| match field(name) {
            Value::Number(number) => Some(*number),
            _ => None,
        };
        let tensor = |name: &str| self.file.tensor(field(name), &format!("{kind}.{name}"));
        let needed = |name: &str| {
            let missing = || damaged(format!("{kind} has no `{name}`"));
            tensor(name)?.ok_or_else(missing)
        };
        let layer = match kind {
            "SpatialConvolution" | "SpatialConvolutionMM" => {
                let weight = needed("weight")?;
                let extent = |name: &str| number(name).map(|value| value as usize);
                let weight = match (weight.shape().len(), extent("nInputPlane")) {
                    // Flattened: outputs, and inputs times the kernel's extents.
                    (2, Some(inputs)) => {
                        let (shape, values) = weight.into_parts();
                        let [rows, columns] = ["kH", "kW"].map(|name| extent(name).unwrap_or(1));
                        let shape = vec![shape[0], inputs, rows, columns];
                        if elements(&shape) != Some(values.len()) {
                            return Err(damaged(format!(
                                "the weights of {kind} are not {shape:?}"
                            )));
                        }
                        StoredTensor::new(shape, values)
                    }
                    _ => weight,
                };
                Layer::Convolution {
                    weight,
                    bias: tensor("bias")?,
                    stride: number("dW").map(|stride| stride as u32),
                    begins_stage: false,
                    is_shortcut,
                }
            }
            "SpatialBatchNormalization" | "BatchNormalization" => {
                let mean = needed("running_mean")?;
                let epsilon = number("eps").unwrap_or(BatchNorm::EPSILON);
                check_epsilon(epsilon)?;
                // Before the second version of the layer: 1 / sqrt(variance + epsilon).
                let variance = match tensor("running_var")? {
                    Some(variance) => variance,
                    None => {
                        let inverse = needed("running_std")?;
                        let shape = inverse.shape().to_vec();
                        let inverse = inverse.into_f32("running_std")?;
                        let variance = |inverse: f32| f64::from(inverse).powi(-2) - epsilon;
                        let variances = inverse.into_iter().map(variance);
                        StoredTensor::f32(shape, variances.map(|v| v.max(0.0) as f32).collect())
                    }
                };
                Layer::BatchNorm(Box::new(BatchNorm {
                    weight: tensor("weight")?,
                    bias: tensor("bias")?,
                    mean,
                    variance,
                    epsilon,
                }))
            }
            "Linear" => Layer::Linear {
                weight: needed("weight")?,
                bias: tensor("bias")?,
            },
            "SpatialAveragePooling" if is_shortcut => Layer::Pooling,
            "SpatialMaxPooling" => {
                let extents = ["kW", "dW", "padW"].map(|name| number(name).map(|n| n as u32));
                if let [Some(kernel), Some(stride), padding] = extents {
                    check_max_pooling(Some([kernel, stride, padding.unwrap_or(0)]))?;
                }
                self.ceil_mode = Some(*field("ceil_mode") == Value::Boolean(true));
                return Ok(None);
            }
            _ if tensor("weight")?.is_some() => {
                return Err(CheckpointError::Layer {
                    kind: kind.to_owned(),
                });
            }
            _ => return Ok(None),
        };
        Ok(Some(layer))
    }
}
