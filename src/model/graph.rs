//! The forward pass of a network as a graph, with running statistics or those of the batch.
//!
//! External values have the names in [`names`]. Kept values: see [`super::packing`] and
//! [`TensorKind`]. All graphs of a network declare their kept values in the same order, so that
//! their programs share arenas. What training adds is in `crate::train`.

use std::collections::HashMap;

use super::description::Preprocessing;
use super::layers::{BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Layer, LayerKind, Network, Shortcut};
use super::state::TensorKind;
use crate::graph::ops::{self, Window};
use crate::graph::step::Step;
use crate::graph::{Graph, GraphError, Passes, Precision, ValueId, precision, rewrite};
use crate::shape::{PixelFormat, Shape};

/// Names of a graph's external inputs and outputs.
pub mod names {
    /// Images, u32 [M, words]; see [`crate::graph::ops::AssembleBatch`].
    pub const TRAIN_IMAGES: &str = "training images";
    /// The same for evaluation.
    pub const EVAL_IMAGES: &str = "evaluation images";
    /// Index of each view of each image of the batch among the images, u32 `[N·V]`.
    pub const ROWS: &str = "rows";
    /// Index in its dataset of the image of each view, which keys its random numbers, u32 `[N·V]`.
    pub const SAMPLES: &str = "samples";
    /// 0, 1, 2 and so on, which do not change: rows of images that are one batch, u32 `[N]`.
    pub const POSITIONS: &str = "positions";
    /// First and second transform of each image of the batch, each u32 [N, 7]; see
    /// [`crate::graph::ops::TransformImages`].
    pub const TRANSFORMS: [&str; 2] = ["transforms", "second transforms"];
    /// Rectangles to erase, u32 [N, 4·R]; see [`crate::graph::ops::Erase`].
    pub const RECTANGLES: &str = "rectangles";
    /// What each image is mixed with, u32 [N, 6]; see [`crate::graph::ops::MixBatch`].
    pub const MIXTURES: &str = "mixtures";
    /// Class of each image, u32 `[N]`; with mixing, u32 [3, N]; see [`crate::graph::ops::Target`].
    pub const LABELS: &str = "labels";
    /// Weight of each image's loss, f32 `[N]`: one over the size of the whole batch.
    pub const LOSS_WEIGHTS: &str = "loss weights";
    /// Hyper-parameters of the step; see [`crate::graph::step`].
    pub const STEP: &str = "step";
    /// Accumulated metrics; see [`crate::graph::ops::Metrics`].
    pub const METRICS: &str = "metrics";
    /// State of loss scaling; see [`crate::graph::ops::LossScale`].
    pub const LOSS_SCALE: &str = "loss scale";
    /// The normalised batch, f32 [N·V, H, W, 3].
    pub const INPUT: &str = "input";
    /// Logits, f32 [N, 1, 1, K].
    pub const LOGITS: &str = "logits";
}

/// Where batches come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The external value [`names::INPUT`], already normalised.
    Tensor,
    /// Images, assembled and normalised on the device.
    Images {
        /// Name of the value that holds the images.
        name: &'static str,
        /// Number of images in it, where each view counts.
        count: usize,
        /// How they store their pixels.
        pixels: PixelFormat,
        /// Mean and standard deviation of the channels, and which views an image has.
        preprocessing: Preprocessing,
        /// What changes them at random.
        augmentation: BatchAugmentation,
    },
}

impl Input {
    /// Whether each image is mixed with another one, and has two labels.
    pub fn is_mixed(&self) -> bool {
        matches!(self, Input::Images { augmentation, .. } if augmentation.mix)
    }
}

/// Random changes of the images of a batch, in this order; none by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchAugmentation {
    /// Number of transforms of each image, at most that of [`names::TRANSFORMS`]; its pixels are
    /// bytes.
    pub transforms: usize,
    /// Whether to flip at random and, where pixels are bytes, to crop at random after padding by
    /// [`crop_padding`].
    pub flip_and_crop: bool,
    /// Number of rectangles that are erased from each image.
    pub rectangles: usize,
    /// Whether images are mixed with others of the batch.
    pub mix: bool,
}

/// Which mean and variance batch norm uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The running averages: evaluation and prediction.
    Running,
    /// The batch's own, as in training; dropout and random factors on branches are active.
    Batch {
        /// Whether the running averages are updated.
        update_running: bool,
        /// The images that they are statistics of, if these are more than the batch: with several
        /// replicas, those of all.
        images: Option<usize>,
    },
}

/// Pixels of padding before a random crop: one eighth of the size, 4 at 32 pixels as in the
/// authors' recipe.
pub fn crop_padding(image_size: usize) -> usize {
    image_size / 8
}

/// The operator that makes a batch of images of `size` x `size`. With `augment`, as in training,
/// it flips them at random, and crops images of bytes at random after padding by [`crop_padding`];
/// those in single precision were cropped where they were decoded.
pub fn assemble_batch(
    size: usize,
    pixels: PixelFormat,
    preprocessing: &Preprocessing,
    augment: bool,
) -> ops::AssembleBatch {
    ops::AssembleBatch {
        size,
        pixels,
        padding: match (augment, pixels) {
            (true, PixelFormat::U8) => crop_padding(size),
            (true, PixelFormat::F32) | (false, _) => 0,
        },
        flip: augment,
        order: preprocessing.order,
        mean: preprocessing.mean,
        std: preprocessing.std,
    }
}

impl Network {
    /// The graph that computes logits only, without labels.
    ///
    /// # Errors
    /// If the network cannot take such a batch.
    pub fn prediction_graph(
        &self,
        batch: usize,
        input: &Input,
        passes: Passes,
    ) -> Result<Graph, GraphError> {
        let mut graph = self.declarations(&[]);
        let weights = TensorKind::Weights;
        self.forward(&mut graph, batch, input, Statistics::Running, weights)?;
        if passes.fuse {
            rewrite::fuse_forward(&mut graph);
            // Prediction only: evaluation uses the kernels that training has compiled.
            rewrite::fuse_inference(&mut graph);
            rewrite::fuse_loads(&mut graph);
        }
        if passes.precision == Precision::F16 {
            precision::halve(&mut graph);
        }
        graph.validate()?;
        Ok(graph)
    }

    /// A graph without nodes that declares weights, running statistics, further kinds of
    /// tensors, hyper-parameters and metrics.
    pub fn declarations(&self, kinds: &[TensorKind]) -> Graph {
        let mut graph = Graph::new();
        let packed = self.packed_values();
        TensorKind::Weights.declare(&mut graph, &packed);
        for kind in kinds {
            kind.declare(&mut graph, &packed);
        }
        graph.external(names::STEP, Step::shape());
        graph.external(names::METRICS, ops::Metrics::shape());
        graph
    }

    /// Checks that pixels can be numbered with 32 bits, as kernels do, and operations of a whole
    /// step counted with 64: at most eight for each multiply-add of the forward pass.
    fn check_batch(&self, batch: usize) -> Result<(), GraphError> {
        let pixels = (self.spec.image_size as f64).powi(2);
        let most = f64::from(u32::MAX) / pixels;
        let most = most.min(2f64.powi(60) / self.counts().macs as f64) as usize;
        match batch > most {
            true => Err(GraphError::Batch { batch, most }),
            false => Ok(()),
        }
    }

    /// Appends the forward pass to [`Network::declarations`], with weights and statistics of the
    /// given kind; returns the logits, an output named [`names::LOGITS`].
    ///
    /// # Errors
    /// If the network cannot take such a batch: batch norm of a single value, or more images than
    /// can be counted.
    pub fn forward(
        &self,
        graph: &mut Graph,
        batch: usize,
        input: &Input,
        statistics: Statistics,
        weights: TensorKind,
    ) -> Result<ValueId, GraphError> {
        let views = match input {
            Input::Tensor => 1,
            Input::Images { preprocessing, .. } => preprocessing.resize.views.count(),
        };
        let entries = batch.saturating_mul(views);
        self.check_batch(entries)?;
        let declared = graph.values.iter().enumerate();
        let mut forward = Forward {
            network: self,
            declared: declared
                .map(|(index, value)| (value.name.clone(), ValueId(index)))
                .collect(),
            graph,
            statistics,
            views,
            entries,
            weights,
        };
        let x = forward.input(entries, input)?;
        let logits = forward.network(x)?;
        graph.output(logits, names::LOGITS);
        Ok(logits)
    }
}

/// The value of this name among the [`Network::declarations`] of a graph.
///
/// # Panics
/// If there is none, which is a bug.
pub fn declared(graph: &Graph, name: &str) -> ValueId {
    let found = graph.find(name);
    found.unwrap_or_else(|| panic!("the graph declares no value {name}"))
}

/// Appends the layers of a network to a graph.
struct Forward<'a> {
    network: &'a Network,
    /// The values of [`Network::declarations`] by name.
    declared: HashMap<String, ValueId>,
    graph: &'a mut Graph,
    statistics: Statistics,
    /// Views of an image.
    views: usize,
    /// Images of the batch, with all their views.
    entries: usize,
    weights: TensorKind,
}

impl Forward<'_> {
    fn kept(&self, layer: &str, suffix: &str) -> ValueId {
        let name = format!("{layer}.{suffix}");
        self.declared[&self.weights.value_name(&name)]
    }

    /// The value [`names::SAMPLES`], declared on first use.
    fn samples(&mut self, batch: usize) -> ValueId {
        match self.graph.find(names::SAMPLES) {
            Some(id) => id,
            None => {
                let shape = Shape::indices(&[batch]);
                self.graph.external(names::SAMPLES, shape)
            }
        }
    }

    fn input(&mut self, batch: usize, input: &Input) -> Result<ValueId, GraphError> {
        let size = self.network.spec().image_size as usize;
        match input {
            Input::Tensor => Ok(self
                .graph
                .external(names::INPUT, Shape::channels(&[batch, size, size, 3]))),
            Input::Images {
                name,
                count,
                pixels,
                preprocessing,
                augmentation,
            } => {
                let words = ops::AssembleBatch::image_words(size, *pixels);
                let images = self.graph.external(name, Shape::indices(&[*count, words]));
                let rows = self.graph.external(names::ROWS, Shape::indices(&[batch]));
                let samples = self.samples(batch);
                let (images, rows) = self.transform(size, images, rows, augmentation.transforms)?;
                let op = assemble_batch(size, *pixels, preprocessing, augmentation.flip_and_crop);
                let step = declared(self.graph, names::STEP);
                let x = self
                    .graph
                    .push_one(op, &[images, rows, samples, step], names::INPUT)?;
                self.augment(x, augmentation)
            }
        }
    }

    /// What precedes flip and crop: the images of the batch after so many transforms, and their
    /// rows.
    fn transform(
        &mut self,
        size: usize,
        mut images: ValueId,
        mut rows: ValueId,
        transforms: usize,
    ) -> Result<(ValueId, ValueId), GraphError> {
        let batch = self.graph.shape(rows).len();
        for name in &names::TRANSFORMS[..transforms] {
            let words = Shape::indices(&[batch, ops::TRANSFORM_WORDS]);
            let operands = ops::TransformImagesInputs {
                images,
                rows,
                transforms: self.graph.external(name, words),
            };
            let op = ops::TransformImages { size };
            images = self
                .graph
                .push_one(op, &operands.list(), "transformed images")?;
            rows = match self.graph.find(names::POSITIONS) {
                Some(id) => id,
                None => self
                    .graph
                    .external(names::POSITIONS, Shape::indices(&[batch])),
            };
        }
        Ok((images, rows))
    }

    /// What follows flip and crop.
    fn augment(
        &mut self,
        mut x: ValueId,
        augmentation: &BatchAugmentation,
    ) -> Result<ValueId, GraphError> {
        let batch = self.graph.shape(x).dims[0];
        if augmentation.rectangles > 0 {
            let words = ops::RECTANGLE_WORDS * augmentation.rectangles;
            let rectangles = Shape::indices(&[batch, words]);
            let rectangles = self.graph.external(names::RECTANGLES, rectangles);
            let operands = ops::EraseInputs { x, rectangles };
            x = (self.graph).push_one(ops::Erase, &operands.list(), "erased input")?;
        }
        if augmentation.mix {
            let mixtures = Shape::indices(&[batch, ops::MIXTURE_WORDS]);
            let mixtures = self.graph.external(names::MIXTURES, mixtures);
            let operands = ops::MixBatchInputs { x, mixtures };
            x = (self.graph).push_one(ops::MixBatch, &operands.list(), "mixed input")?;
        }
        Ok(x)
    }

    fn network(&mut self, x: ValueId) -> Result<ValueId, GraphError> {
        let network = self.network;
        let mut x = self.sequence(&network.stem, x)?;
        for unit in &network.units {
            let lead = self.sequence(&unit.lead, x)?;
            let branch = self.sequence(&unit.branch, lead)?;
            x = match &unit.shortcut {
                Shortcut::Identity => self.shortcut_add(1, branch, lead, &unit.name)?,
                Shortcut::PoolAndPad { stride, .. } => {
                    self.shortcut_add(*stride, branch, lead, &unit.name)?
                }
                Shortcut::Projection(layer) => {
                    let other = self.layer(layer, lead)?;
                    self.graph
                        .push_one(ops::Add, &[branch, other], &unit.name)?
                }
            };
        }
        self.sequence(&network.head, x)
    }

    fn shortcut_add(
        &mut self,
        stride: usize,
        branch: ValueId,
        x: ValueId,
        name: &str,
    ) -> Result<ValueId, GraphError> {
        let op = ops::ShortcutAdd::new(stride);
        self.graph.push_one(op, &[branch, x], name)
    }

    fn sequence(&mut self, layers: &[Layer], x: ValueId) -> Result<ValueId, GraphError> {
        layers.iter().try_fold(x, |x, layer| self.layer(layer, x))
    }

    fn layer(&mut self, layer: &Layer, x: ValueId) -> Result<ValueId, GraphError> {
        let name = &layer.name;
        match layer.kind {
            LayerKind::Convolution {
                stride, padding, ..
            } => {
                let op = ops::Conv2d::new(Window { stride, padding });
                let weight = self.kept(name, "weight");
                self.graph.push_one(op, &[x, weight], name)
            }
            LayerKind::BatchNorm { .. } => self.batch_norm(name, x),
            LayerKind::Relu => self.graph.push_one(ops::Relu, &[x], name),
            LayerKind::MaxPool {
                kernel,
                stride,
                padding,
                ceil_mode,
            } => {
                let pooling = ops::Pooling {
                    kernel,
                    window: Window { stride, padding },
                    ceil_mode,
                };
                let op = ops::MaxPool { pooling };
                self.graph.push_one(op, &[x], name)
            }
            LayerKind::GlobalAveragePool => {
                let op = ops::GlobalAveragePool { views: self.views };
                self.graph.push_one(op, &[x], name)
            }
            LayerKind::Dropout { probability } => {
                if self.statistics == Statistics::Running {
                    return Ok(x);
                }
                let batch = self.graph.shape(x).dims[0];
                let samples = self.samples(batch);
                let step = declared(self.graph, names::STEP);
                let op = ops::Dropout { probability };
                self.graph.push_one(op, &[x, samples, step], name)
            }
            LayerKind::ScaleBranch {
                rule,
                survival,
                unit,
            } => {
                let is_random =
                    self.statistics != Statistics::Running && !self.network.is_frozen(layer);
                // Stochastic depth has the expectation 1.
                if !is_random && rule == ops::BranchRule::StochasticDepth {
                    return Ok(x);
                }
                let mut op = ops::ScaleBranch {
                    rule,
                    survival,
                    unit,
                    pass: ops::BranchPass::Expectation,
                };
                let mut operands = vec![x];
                if is_random {
                    op.pass = ops::BranchPass::Forward;
                    let batch = self.graph.shape(x).dims[0];
                    operands.push(self.samples(batch));
                    operands.push(declared(self.graph, names::STEP));
                }
                self.graph.push_one(op, &operands, name)
            }
            LayerKind::Linear { .. } => {
                // A matrix product is a 1x1 convolution on a 1x1 map.
                let op = ops::Conv2d {
                    window: Window {
                        stride: 1,
                        padding: 0,
                    },
                    normalize_input: None,
                    normalize_output: None,
                    partial_moments: false,
                };
                let (weight, bias) = (self.kept(name, "weight"), self.kept(name, "bias"));
                let product = format!("{name}.product");
                let y = self.graph.push_one(op, &[x, weight], &product)?;
                self.graph.push_one(ops::BiasAdd, &[y, bias], name)
            }
        }
    }

    fn batch_norm(&mut self, name: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let (affine, running) = (self.kept(name, "affine"), self.kept(name, "moments"));
        let statistics = match self.network.frozen.contains(name) {
            true => Statistics::Running,
            false => self.statistics,
        };
        let moments = match statistics {
            Statistics::Running => running,
            Statistics::Batch {
                update_running,
                images,
            } => {
                let label = format!("{name}.batch");
                let op = ops::BatchMoments { running: None };
                let moments = self.graph.push_one(op, &[x], &label)?;
                if update_running {
                    let op = ops::RunningAverage {
                        weight: BATCH_NORM_MOMENTUM,
                        count: match images {
                            None => self.graph.shape(x).rows(),
                            Some(all) => self.graph.shape(x).rows() / self.entries * all,
                        },
                    };
                    self.graph.push(op, &[running, moments], "running")?;
                }
                moments
            }
        };
        let op = ops::Normalize {
            epsilon: BATCH_NORM_EPSILON,
            batch: statistics != Statistics::Running,
            relu: false,
        };
        self.graph.push_one(op, &[x, moments, affine], name)
    }
}
