//! The graph of a training step, in execution order: forward pass, loss, backward pass, update.
//! Evaluation ends after the loss.
//!
//! Graph passes run in between, and their order matters. The forward pass is fused before autodiff
//! derives the backward pass from it. The backward pass is fused before activation checkpointing
//! decides what to recompute. Reductions move into epilogues once no pass copies nodes any more.
//! Activations become f16 last, when all operators on them exist.
//! With half-precision activations the loss is scaled, so that small gradients do not underflow.

use crate::graph::{
    Arena, Graph, GraphError, Passes, Precision, ValueId, activation_checkpointing, autodiff, ops,
    precision, rewrite,
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

impl Mode {
    /// Tensors that the graph keeps besides weights, in the same order for all graphs of a network.
    fn kinds(self) -> Vec<TensorKind> {
        let optimizer = TensorKind::optimizer_state();
        match self {
            Mode::Evaluate => Vec::new(),
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

    fn statistics(self) -> Statistics {
        match self {
            Mode::Evaluate => Statistics::Running,
            Mode::Gradients | Mode::Train | Mode::MicroBatch => Statistics::Batch {
                update_running: self.updates(),
            },
        }
    }
}

/// The graph of one batch, with the plain cross-entropy of its labels.
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
    smoothed_step_graph(network, batch, input, mode, passes, 0.0)
}

/// [`step_graph`] with label smoothing ([`ops::SoftmaxCrossEntropy::smoothing`]).
///
/// # Errors
/// Those of [`step_graph`]; and if the smoothing is not in [0, 1).
pub fn smoothed_step_graph(
    network: &Network,
    batch: usize,
    input: &Input,
    mode: Mode,
    passes: Passes,
    smoothing: f32,
) -> Result<Graph, GraphError> {
    let mut graph = network.declarations(&mode.kinds());
    let loss_scale = loss_scale(&mut graph, mode, passes);

    let logits = network.forward(&mut graph, batch, input, mode.statistics())?;
    if passes.fuse {
        rewrite::fuse_forward(&mut graph);
        rewrite::fuse_loads(&mut graph);
    }
    let labels = match input.is_mixed() {
        true => Shape::indices(&[3, batch]),
        false => Shape::indices(&[batch]),
    };
    let losses = loss(&mut graph, labels, logits, smoothing)?;

    if mode != Mode::Evaluate {
        let first_backward = graph.nodes.len();
        backward(&mut graph, batch, losses, loss_scale)?;
        if passes.fuse {
            rewrite::fuse_backward(&mut graph);
        }
        activation_checkpointing::apply(&mut graph, first_backward, passes.checkpointing);
    }
    match mode {
        Mode::Evaluate | Mode::Gradients => {}
        Mode::Train => update(&mut graph, Arena::Gradients, loss_scale)?,
        Mode::MicroBatch => accumulate(&mut graph)?,
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
pub fn update_graph(network: &Network, passes: Passes) -> Result<Graph, GraphError> {
    let mode = Mode::MicroBatch;
    let mut graph = network.declarations(&mode.kinds());
    let loss_scale = loss_scale(&mut graph, mode, passes);
    update(&mut graph, Arena::Sums, loss_scale)?;
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

/// Appends the addition of the gradients to their sums.
fn accumulate(graph: &mut Graph) -> Result<(), GraphError> {
    let operands = ops::AccumulateInputs {
        sums: graph.arena(Arena::Sums),
        gradients: graph.arena(Arena::Gradients),
    };
    graph.push(ops::Accumulate, &operands.list(), "sums")?;
    Ok(())
}

/// Appends SGD with the gradients of an arena. With a scaled loss, a step whose gradients
/// overflow changes only the loss scale, unless that is at its minimum.
fn update(
    graph: &mut Graph,
    gradients: Arena,
    loss_scale: Option<ValueId>,
) -> Result<(), GraphError> {
    let gradients = graph.arena(gradients);
    let [metrics, step] = [names::METRICS, names::STEP].map(|name| declared(graph, name));
    if let Some(scale) = loss_scale {
        let operands = ops::FindOverflowInputs {
            gradients: gradients.clone(),
            scale,
        };
        graph.push(ops::FindOverflow, &operands.list(), "overflow")?;
    }
    let operands = ops::SgdInputs {
        parameters: graph.arena(Arena::Parameters),
        gradients,
        velocities: graph.arena(Arena::Momentum),
        metrics,
        step,
        scale: loss_scale,
    };
    let op = ops::Sgd {
        scaled: loss_scale.is_some(),
    };
    graph.push(op, &operands.list(), "update")?;
    if let Some(scale) = loss_scale {
        let operands = ops::AdjustLossScaleInputs { scale };
        graph.push(ops::AdjustLossScale, &operands.list(), "loss scale")?;
    }
    Ok(())
}
