//! A network as a graph: evaluation, gradients, and whole training steps.
//!
//! Values from outside, by name: [`names`]. Kept values: see [`super::packing`].
//! All graphs of one network declare their kept values in the same order, so that programs
//! made of them share arenas.

use super::description::Preprocessing;
use super::layers::{BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Layer, LayerKind, Network, Shortcut};
use super::packing::PackedValue;
use crate::graph::ops::{self, Window};
use crate::graph::step::Step;
use crate::graph::{
    Arena, Graph, GraphError, Passes, Precision, ValueId, activation_checkpointing, autodiff,
    precision, rewrite,
};
use crate::shape::Shape;

/// Names of the values that come from or go outside.
pub mod names {
    /// Images as bytes, u32 [M, words]; see [`crate::graph::ops::AssembleBatch`].
    pub const TRAIN_IMAGES: &str = "training images";
    /// The same for evaluation.
    pub const EVAL_IMAGES: &str = "evaluation images";
    /// Which image stands where in the batch, u32 `[N]`.
    pub const ROWS: &str = "rows";
    /// Number of each image in its dataset, u32 `[N]`.
    pub const SAMPLES: &str = "samples";
    /// Class of each image, u32 `[N]`.
    pub const LABELS: &str = "labels";
    /// Weight of each image's loss, f32 `[N]`: one over the size of the whole batch.
    pub const LOSS_WEIGHTS: &str = "loss weights";
    /// Hyper-parameters of the step; see [`crate::graph::step`].
    pub const STEP: &str = "step";
    /// Accumulated metrics; see [`crate::graph::ops::Metrics`].
    pub const METRICS: &str = "metrics";
    /// State of loss scaling; see [`crate::graph::ops::LossScale`].
    pub const LOSS_SCALE: &str = "loss scale";
    /// The batch itself, f32 [N, H, W, 3], where it does not come from images.
    pub const INPUT: &str = "input";
    /// Scores, f32 [N, 1, 1, K].
    pub const LOGITS: &str = "logits";

    /// The gradient of a kept parameter.
    pub fn gradient(parameter: &str) -> String {
        format!("gradient of {parameter}")
    }

    /// The velocity of a kept parameter.
    pub fn momentum(parameter: &str) -> String {
        format!("momentum of {parameter}")
    }

    /// The gradient of a kept parameter, summed over micro-batches.
    pub fn sum(parameter: &str) -> String {
        format!("summed gradient of {parameter}")
    }
}

/// Where batches come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The value [`names::INPUT`], normalised already.
    Tensor,
    /// Images of bytes, normalised on the way.
    Images {
        /// Name of the images' value.
        name: &'static str,
        /// Images it holds.
        count: usize,
        /// Mean and standard deviation of the channels.
        preprocessing: Preprocessing,
        /// Random flip, and crop after padding by four (one eighth of the size at other
        /// sizes than 32).
        augment: bool,
    },
}

/// What a graph computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Scores with running statistics; loss and hits into the metrics.
    Evaluate,
    /// Scores alone: no labels needed.
    Predict,
    /// Training-mode forward and backward; gradients stay readable.
    Gradients,
    /// The same, then the running averages and the update of all parameters.
    Train,
    /// The same as [`Mode::Train`], but gradients are added to sums instead of applied.
    MicroBatch,
}

impl Mode {
    fn trains(self) -> bool {
        matches!(self, Mode::Gradients | Mode::Train | Mode::MicroBatch)
    }
}

/// Pixels of padding before a random crop: four at 32 pixels, as in the recipe.
pub fn crop_padding(image_size: usize) -> usize {
    image_size / 8
}

impl Network {
    /// The graph of one batch.
    ///
    /// # Errors
    /// If the network cannot take such a batch: batch norm of a single value.
    pub fn graph(
        &self,
        batch: usize,
        input: &Input,
        mode: Mode,
        passes: Passes,
    ) -> Result<Graph, GraphError> {
        let mut builder = Builder::new(self, mode, passes);
        let x = builder.input(batch, input)?;
        let logits = builder.network(x)?;
        builder.graph.output(logits, names::LOGITS);
        if passes.fuse {
            rewrite::fuse_forward(&mut builder.graph);
            // Evaluation shares its kernels with training instead, which has to compile them.
            if mode == Mode::Predict {
                rewrite::fuse_inference(&mut builder.graph);
            }
            rewrite::fuse_loads(&mut builder.graph);
        }
        if mode != Mode::Predict {
            builder.loss(batch, logits)?;
        }
        if mode.trains() {
            let first_backward = builder.graph.nodes.len();
            builder.backward(batch)?;
            if passes.fuse {
                rewrite::fuse_backward(&mut builder.graph);
            }
            activation_checkpointing::apply(
                &mut builder.graph,
                first_backward,
                passes.checkpointing,
            );
        }
        if matches!(mode, Mode::Train | Mode::MicroBatch) {
            builder.update()?;
        }
        if passes.fuse {
            rewrite::fuse_reductions(&mut builder.graph);
        }
        if passes.precision == Precision::F16 {
            precision::halve(&mut builder.graph);
        }
        builder.graph.validate()?;
        Ok(builder.graph)
    }

    /// The graph that applies summed gradients after the last micro-batch.
    ///
    /// # Errors
    /// None for a legal network.
    pub fn update_graph(&self, passes: Passes) -> Result<Graph, GraphError> {
        let mut builder = Builder::new(self, Mode::MicroBatch, passes);
        let sums = builder.graph.arena(Arena::Sums);
        builder.sgd(&sums)?;
        // The next step's sums begin at zero.
        builder.graph.clears.push(Arena::Sums);
        builder.graph.validate()?;
        Ok(builder.graph)
    }
}

struct Builder<'n> {
    network: &'n Network,
    graph: Graph,
    mode: Mode,
    step: ValueId,
    metrics: ValueId,
    /// Where the loss is scaled.
    loss_scale: Option<ValueId>,
    samples: Option<ValueId>,
    losses: Option<ValueId>,
}

impl<'n> Builder<'n> {
    fn new(network: &'n Network, mode: Mode, passes: Passes) -> Builder<'n> {
        let mut graph = Graph::new();
        let packed = network.packed_values();
        let trained: Vec<&PackedValue> = packed
            .iter()
            .filter(|value| value.arena == Arena::Parameters)
            .collect();
        for value in &packed {
            graph.kept(&value.name, value.shape.clone(), value.arena);
        }
        let mut shadow = |arena: Arena, name: fn(&str) -> String| {
            for value in &trained {
                graph.kept(&name(&value.name), value.shape.clone(), arena);
            }
        };
        if mode.trains() {
            shadow(Arena::Gradients, names::gradient);
        }
        if matches!(mode, Mode::Train | Mode::MicroBatch) {
            shadow(Arena::Momentum, names::momentum);
        }
        if mode == Mode::MicroBatch {
            shadow(Arena::Sums, names::sum);
        }
        let step = graph.external(names::STEP, Step::shape());
        let metrics = graph.external(names::METRICS, ops::Metrics::shape());
        let updates = matches!(mode, Mode::Train | Mode::MicroBatch);
        let scaled = updates && passes.precision == Precision::F16;
        let loss_scale = scaled.then(|| graph.external(names::LOSS_SCALE, ops::LossScale::shape()));
        Builder {
            network,
            graph,
            mode,
            step,
            metrics,
            loss_scale,
            samples: None,
            losses: None,
        }
    }

    fn kept(&self, layer: &str, suffix: &str) -> ValueId {
        let name = format!("{layer}.{suffix}");
        let found = self.graph.find(&name);
        found.unwrap_or_else(|| panic!("the network packs no value {name}"))
    }

    fn samples(&mut self, batch: usize) -> ValueId {
        match self.samples {
            Some(id) => id,
            None => {
                let id = self
                    .graph
                    .external(names::SAMPLES, Shape::indices(&[batch]));
                self.samples = Some(id);
                id
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
                preprocessing,
                augment,
            } => {
                let words = ops::AssembleBatch::image_words(size);
                let images = self.graph.external(name, Shape::indices(&[*count, words]));
                let rows = self.graph.external(names::ROWS, Shape::indices(&[batch]));
                let samples = self.samples(batch);
                let op = ops::AssembleBatch {
                    size,
                    padding: if *augment { crop_padding(size) } else { 0 },
                    flip: *augment,
                    mean: preprocessing.mean,
                    std: preprocessing.std,
                };
                self.graph
                    .push_one(op, &[images, rows, samples, self.step], names::INPUT)
            }
        }
    }

    fn network(&mut self, x: ValueId) -> Result<ValueId, GraphError> {
        let network = self.network;
        let mut x = self.sequence(&network.stem, x)?;
        for unit in &network.units {
            let lead = self.sequence(&unit.lead, x)?;
            let branch = self.sequence(&unit.branch, lead)?;
            x = match &unit.shortcut {
                Shortcut::Identity => {
                    let op = ops::ShortcutAdd {
                        stride: 1,
                        normalize: None,
                        partial_moments: false,
                    };
                    self.graph.push_one(op, &[branch, lead], &unit.name)?
                }
                Shortcut::PoolAndPad { stride, .. } => {
                    let op = ops::ShortcutAdd {
                        stride: *stride,
                        normalize: None,
                        partial_moments: false,
                    };
                    self.graph.push_one(op, &[branch, lead], &unit.name)?
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

    fn sequence(&mut self, layers: &[Layer], x: ValueId) -> Result<ValueId, GraphError> {
        layers.iter().try_fold(x, |x, layer| self.layer(layer, x))
    }

    fn layer(&mut self, layer: &Layer, x: ValueId) -> Result<ValueId, GraphError> {
        let name = &layer.name;
        match layer.kind {
            LayerKind::Convolution {
                stride, padding, ..
            } => {
                let op = ops::Conv2d {
                    window: Window { stride, padding },
                    normalize_input: None,
                    normalize_output: None,
                    partial_moments: false,
                };
                let weight = self.kept(name, "weight");
                self.graph.push_one(op, &[x, weight], name)
            }
            LayerKind::BatchNorm { .. } => self.batch_norm(name, x),
            LayerKind::Relu => self.graph.push_one(ops::Relu, &[x], name),
            LayerKind::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let window = Window { stride, padding };
                let op = ops::MaxPool { kernel, window };
                self.graph.push_one(op, &[x], name)
            }
            LayerKind::GlobalAveragePool => self.graph.push_one(ops::GlobalAveragePool, &[x], name),
            LayerKind::Dropout { probability } => {
                if !self.mode.trains() {
                    return Ok(x);
                }
                let batch = self.graph.shape(x).dims[0];
                let samples = self.samples(batch);
                let op = ops::Dropout { probability };
                self.graph.push_one(op, &[x, samples, self.step], name)
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
        let batch = self.mode.trains();
        let moments = match batch {
            true => {
                let label = format!("{name}.batch");
                let op = ops::BatchMoments { running: None };
                let moments = self.graph.push_one(op, &[x], &label)?;
                if matches!(self.mode, Mode::Train | Mode::MicroBatch) {
                    let op = ops::RunningAverage {
                        weight: BATCH_NORM_MOMENTUM,
                        count: self.graph.shape(x).rows(),
                    };
                    self.graph.push(op, &[running, moments], "running")?;
                }
                moments
            }
            false => running,
        };
        let op = ops::Normalize {
            epsilon: BATCH_NORM_EPSILON,
            batch,
            relu: false,
        };
        self.graph.push_one(op, &[x, moments, affine], name)
    }

    fn loss(&mut self, batch: usize, logits: ValueId) -> Result<(), GraphError> {
        let labels = self.graph.external(names::LABELS, Shape::indices(&[batch]));
        let results = self
            .graph
            .push(ops::SoftmaxCrossEntropy, &[logits, labels], "loss")?;
        self.losses = Some(results[0]);
        let operands = [results[0], results[1], self.metrics];
        self.graph.push(ops::CountMetrics, &operands, "metrics")?;
        Ok(())
    }

    fn backward(&mut self, batch: usize) -> Result<(), GraphError> {
        let losses = self
            .losses
            .expect("the loss comes before the backward pass");
        let mut weights = self
            .graph
            .external(names::LOSS_WEIGHTS, Shape::dense(&[batch]));
        if let Some(scale) = self.loss_scale {
            let name = "scaled loss weights";
            weights = self
                .graph
                .push_one(ops::ScaleLoss, &[weights, scale], name)?;
        }
        let parameters = self.graph.arena(Arena::Parameters);
        let kept = self.graph.arena(Arena::Gradients);
        let gradients = autodiff::backward(&mut self.graph, &[(losses, weights)], &parameters)?;
        for (gradient, kept) in gradients.into_iter().zip(kept) {
            let gradient = gradient.expect("the loss depends on every parameter");
            self.graph.store(gradient, kept);
        }
        Ok(())
    }

    fn update(&mut self) -> Result<(), GraphError> {
        let gradients = self.graph.arena(Arena::Gradients);
        if self.mode == Mode::Train {
            return self.sgd(&gradients);
        }
        let mut operands = self.graph.arena(Arena::Sums);
        operands.extend(gradients);
        self.graph.push(ops::Accumulate, &operands, "sums")?;
        Ok(())
    }

    fn sgd(&mut self, gradients: &[ValueId]) -> Result<(), GraphError> {
        let mut operands = self.graph.arena(Arena::Parameters);
        operands.extend(gradients);
        operands.extend(self.graph.arena(Arena::Momentum));
        operands.extend([self.metrics, self.step]);
        if let Some(scale) = self.loss_scale {
            let mut looked_at = gradients.to_vec();
            looked_at.push(scale);
            self.graph.push(ops::FindOverflow, &looked_at, "overflow")?;
            operands.push(scale);
        }
        let scaled = self.loss_scale.is_some();
        self.graph.push(ops::Sgd { scaled }, &operands, "update")?;
        if let Some(scale) = self.loss_scale {
            let operands = [scale, self.metrics];
            self.graph
                .push(ops::AdjustLossScale, &operands, "loss scale")?;
        }
        Ok(())
    }
}
