//! The graph of a training step, in execution order: forward pass, loss, backward pass, update.
//! Evaluation ends after the loss.
//!
//! Graph passes run in between, and their order matters. Reductions of synchronised batch norm are
//! added to the forward pass before it is fused, and to the backward pass likewise. The forward pass is
//! fused before autodiff derives the backward pass from it. The backward pass is fused before activation checkpointing
//! decides what to recompute. Reductions move into epilogues once no pass copies nodes any more.
//! Activations become f16 last, when all operators on them exist.
//! With half-precision activations the loss is scaled, so that small gradients do not underflow.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;

use crate::graph::{
    Arena, Graph, GraphError, Passes, Precision, ValueId, activation_checkpointing, autodiff, ops,
    precision, rewrite, sync_batch_norm,
};
use crate::model::{Input, Network, Statistics, TensorKind, declared, names};
use crate::shape::Shape;

/// What a graph computes besides the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Running statistics; loss and correct answers are added to the metrics.
    Evaluate,
    /// Forward pass in training mode and backward pass; gradients stay readable.
    Gradients,
    /// [`Mode::Gradients`], then updates of the running statistics and all parameters.
    Train,
    /// [`Mode::Train`], but gradients are added to sums instead of applied.
    MicroBatch,
}

/// What a training step does besides SGD on the cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepOptions {
    /// Label smoothing of the loss ([`ops::SoftmaxCrossEntropy::smoothing`]), except in evaluation.
    pub label_smoothing: f32,
    /// The norm to which gradients are clipped ([`ops::ClipFactor`]).
    pub clip_norm: Option<f32>,
    /// The decay of the averages of the weights ([`ops::AverageWeights`]); evaluation uses the
    /// averages.
    pub ema: Option<f32>,
    /// With synchronised batch norm, the images of the micro-batches of all replicas, of which the graph
    /// has one.
    pub synchronized: Option<usize>,
    /// With gradients that are summed, and read by the host, in several buckets during the backward pass,
    /// the least number of bytes of each but the last.
    pub bucket: Option<u64>,
}

/// The most buckets into which gradients are divided: each costs a submission.
const BUCKETS: u64 = 8;

impl Mode {
    /// Tensors that the graph keeps besides weights, in the same order for all graphs of a network.
    fn kinds(self, options: &StepOptions) -> Vec<TensorKind> {
        let averages = options.ema.map(|_| TensorKind::Averages);
        let optimizer = TensorKind::optimizer_state().chain(averages);
        match self {
            Mode::Evaluate => averages.into_iter().collect(),
            Mode::Gradients => vec![TensorKind::Gradients],
            Mode::Train => [TensorKind::Gradients]
                .into_iter()
                .chain(optimizer)
                .collect(),
            Mode::MicroBatch => [TensorKind::Gradients]
                .into_iter()
                .chain(optimizer)
                .chain([TensorKind::Sums])
                .collect(),
        }
    }

    fn updates(self) -> bool {
        matches!(self, Mode::Train | Mode::MicroBatch)
    }

    fn statistics(self, options: &StepOptions) -> Statistics {
        match self {
            Mode::Evaluate => Statistics::Running,
            Mode::Gradients | Mode::Train | Mode::MicroBatch => Statistics::Batch {
                update_running: self.updates(),
                images: options.synchronized,
            },
        }
    }
}

/// The graph of one batch, with plain SGD and the plain cross-entropy.
///
/// # Errors
/// If the batch is too small: batch norm needs more than one value per channel.
pub fn step_graph(
    network: &Network,
    batch: usize,
    input: &Input,
    mode: Mode,
    passes: Passes,
) -> Result<Graph, GraphError> {
    step_graph_with(network, batch, input, mode, StepOptions::default(), passes)
}

/// The graph of one batch.
///
/// # Errors
/// As [`step_graph`]; and if the smoothing is not in [0, 1).
pub fn step_graph_with(
    network: &Network,
    batch: usize,
    input: &Input,
    mode: Mode,
    options: StepOptions,
    passes: Passes,
) -> Result<Graph, GraphError> {
    let mut graph = network.declarations(&mode.kinds(&options));
    let loss_scale = loss_scale(&mut graph, mode, passes);

    let weights = match (mode, options.ema) {
        (Mode::Evaluate, Some(_)) => TensorKind::Averages,
        _ => TensorKind::Weights,
    };
    let statistics = mode.statistics(&options);
    let logits = network.forward(&mut graph, batch, input, statistics, weights)?;
    if options.synchronized.is_some() {
        sync_batch_norm::reduce_moments(&mut graph);
    }
    if passes.fuse {
        rewrite::fuse_forward(&mut graph);
        rewrite::fuse_loads(&mut graph);
    }
    let labels = match input.is_mixed() {
        true => Shape::indices(&[3, batch]),
        false => Shape::indices(&[batch]),
    };
    let smoothing = match mode {
        Mode::Evaluate => 0.0,
        _ => options.label_smoothing,
    };
    let losses = loss(&mut graph, labels, logits, smoothing)?;

    if mode != Mode::Evaluate {
        let first_backward = graph.nodes.len();
        backward(&mut graph, batch, losses, loss_scale)?;
        if options.synchronized.is_some() {
            sync_batch_norm::reduce_sums(&mut graph, first_backward);
        }
        if passes.fuse {
            rewrite::fuse_backward(&mut graph);
        }
        activation_checkpointing::apply(&mut graph, first_backward, passes.checkpointing);
    }
    match mode {
        Mode::Evaluate | Mode::Gradients => {}
        Mode::Train => options.append_update(&mut graph, Arena::Gradients, loss_scale)?,
        Mode::MicroBatch => accumulate(&mut graph, options.bucket)?,
    }

    if passes.fuse {
        rewrite::fuse_reductions(&mut graph);
    }
    if passes.precision == Precision::F16 {
        precision::halve(&mut graph);
    }
    graph.validate()?;
    Ok(graph)
}

/// The graph that applies the summed gradients after the last micro-batch.
///
/// # Errors
/// None for a valid network.
pub fn update_graph(
    network: &Network,
    options: StepOptions,
    passes: Passes,
) -> Result<Graph, GraphError> {
    let mode = Mode::MicroBatch;
    let mut graph = network.declarations(&mode.kinds(&options));
    let loss_scale = loss_scale(&mut graph, mode, passes);
    options.append_update(&mut graph, Arena::Sums, loss_scale)?;
    // The next step's sums start at zero.
    graph.clears.push(Arena::Sums);
    graph.validate()?;
    Ok(graph)
}

/// Declares the state of loss scaling, if the loss is scaled.
fn loss_scale(graph: &mut Graph, mode: Mode, passes: Passes) -> Option<ValueId> {
    let scaled = mode.updates() && passes.precision == Precision::F16;
    scaled.then(|| graph.external(names::LOSS_SCALE, ops::LossScale::shape()))
}

/// Appends the cross-entropy of each image, and its contribution to the metrics.
fn loss(
    graph: &mut Graph,
    labels: Shape,
    logits: ValueId,
    smoothing: f32,
) -> Result<ValueId, GraphError> {
    let labels = graph.external(names::LABELS, labels);
    let operands = ops::SoftmaxCrossEntropyInputs { logits, labels };
    let op = ops::SoftmaxCrossEntropy { smoothing };
    let results = graph.push(op.clone(), &operands.list(), "loss")?;
    let ops::SoftmaxCrossEntropyOutputs { losses, ranks } = op.outputs(&results);
    let operands = ops::CountMetricsInputs {
        losses,
        ranks,
        metrics: declared(graph, names::METRICS),
    };
    graph.push(ops::CountMetrics, &operands.list(), "metrics")?;
    Ok(losses)
}

/// Appends the gradients of the weighted sum of the losses, stored in their arena.
fn backward(
    graph: &mut Graph,
    batch: usize,
    losses: ValueId,
    loss_scale: Option<ValueId>,
) -> Result<(), GraphError> {
    let mut weights = graph.external(names::LOSS_WEIGHTS, Shape::dense(&[batch]));
    if let Some(scale) = loss_scale {
        weights = graph.push_one(ops::ScaleLoss, &[weights, scale], "scaled loss weights")?;
    }
    let parameters = graph.arena(Arena::Parameters);
    let kept = graph.arena(Arena::Gradients);
    let gradients = autodiff::backward(graph, &[(losses, weights)], &parameters)?;
    let gradients = gradients.into_iter();
    let gradients = gradients.map(|id| id.expect("the loss depends on every parameter"));
    graph.store(gradients.zip(kept));
    Ok(())
}

/// Adds the addition of the gradients to their sums: at the end, or in buckets of at least so many bytes
/// (the last one may have fewer), each as soon as its gradients are computed. The backward pass computes
/// the last gradients first.
fn accumulate(graph: &mut Graph, bucket: Option<u64>) -> Result<(), GraphError> {
    let sums = graph.arena(Arena::Sums);
    let gradients = graph.arena(Arena::Gradients);
    let bytes = gradients.iter().map(|id| graph.shape(*id).bytes());
    let bytes: Vec<u64> = bytes.collect();
    let least = bucket.map(|least| least.max(bytes.iter().sum::<u64>().div_ceil(BUCKETS)));
    let mut buckets: Vec<Range<usize>> = Vec::new();
    let (mut end, mut held) = (gradients.len(), 0);
    for start in (0..end).rev() {
        held += bytes[start];
        if start == 0 || least.is_some_and(|least| held >= least) {
            buckets.push(start..end);
            (end, held) = (start, 0);
        }
    }
    let mut computed: HashMap<ValueId, usize> = HashMap::new();
    for (number, node) in graph.nodes.iter().enumerate() {
        computed.extend(node.outputs.iter().map(|id| (*id, number)));
    }
    let last = |bucket: &Range<usize>| {
        let own = gradients[bucket.clone()].iter();
        own.map(|id| computed[id]).max()
    };
    // Nodes that are inserted later in the graph first do not move the places of the others.
    buckets.sort_by_key(|bucket| Reverse(last(bucket)));
    for bucket in buckets {
        let operands = ops::AccumulateInputs {
            sums: sums[bucket.clone()].to_vec(),
            gradients: gradients[bucket.clone()].to_vec(),
        };
        graph.push(ops::Accumulate, &operands.list(), "sums")?;
        let node = graph.nodes.pop().expect("pushed above");
        let place = last(&bucket).map_or(0, |last| last + 1);
        graph.nodes.insert(place, node);
    }
    Ok(())
}

impl StepOptions {
    /// Appends the update with the gradients of an arena. With a scaled loss, a step whose
    /// gradients overflow changes only the loss scale, unless that is at its minimum.
    fn append_update(
        self,
        graph: &mut Graph,
        gradients: Arena,
        loss_scale: Option<ValueId>,
    ) -> Result<(), GraphError> {
        let gradients = graph.arena(gradients);
        let parameters = graph.arena(Arena::Parameters);
        let scaled = loss_scale.is_some();
        let [metrics, step] = [names::METRICS, names::STEP].map(|name| declared(graph, name));
        if let Some(scale) = loss_scale {
            let operands = ops::FindOverflowInputs {
                gradients: gradients.clone(),
                scale,
            };
            graph.push(ops::FindOverflow, &operands.list(), "overflow")?;
        }
        let factor = match self.clip_norm {
            None => None,
            Some(max_norm) => {
                let operands = ops::ClipFactorInputs {
                    gradients: gradients.clone(),
                    scale: loss_scale,
                };
                let op = ops::ClipFactor { max_norm, scaled };
                Some(graph.push_one(op, &operands.list(), "clip factor")?)
            }
        };
        let operands = ops::SgdInputs {
            parameters: parameters.clone(),
            gradients,
            velocities: graph.arena(Arena::Momentum),
            metrics,
            step,
            scale: loss_scale,
            factor,
        };
        let op = ops::Sgd {
            scaled,
            clipped: factor.is_some(),
        };
        graph.push(op, &operands.list(), "update")?;
        if let Some(decay) = self.ema {
            let mut averages = graph.arena(Arena::Averages);
            let of_statistics = averages.split_off(parameters.len());
            let statistics = graph.arena(Arena::Statistics);
            for (averages, values) in [(averages, parameters), (of_statistics, statistics)] {
                let operands = ops::AverageWeightsInputs {
                    averages,
                    values,
                    metrics,
                    scale: loss_scale,
                };
                let op = ops::AverageWeights { decay, scaled };
                graph.push(op, &operands.list(), "averages")?;
            }
        }
        if let Some(scale) = loss_scale {
            let operands = ops::AdjustLossScaleInputs { scale };
            graph.push(ops::AdjustLossScale, &operands.list(), "loss scale")?;
        }
        Ok(())
    }
}
