//! The graph of a training step, top to bottom as the step runs: forward pass, loss, backward
//! pass, update. Evaluation ends after the loss.
//!
//! Between these stand the passes over what has been built so far, in an order that matters:
//! the forward pass is fused before the backward pass is derived from it, the backward pass is
//! fused before checkpointing decides what it computes again, reductions move into the epilogues
//! of what they reduce when no node is copied any more, and activations are halved last, when
//! every operator that touches them is there.
//! With half-precision activations the loss is scaled, so that small gradients survive.

use crate::graph::{
    Arena, Graph, GraphError, Passes, Precision, ValueId, activation_checkpointing, autodiff, ops,
    precision, rewrite,
};
use crate::model::{Input, Network, Statistics, TensorKind, declared, names};
use crate::shape::Shape;

/// What a graph computes besides the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With running statistics: loss and correct answers into the metrics.
    Evaluate,
    /// Training-mode forward and backward; gradients stay readable.
    Gradients,
    /// The same, then the running averages and the update of all parameters.
    Train,
    /// The same as [`Mode::Train`], but gradients are added to sums instead of applied.
    MicroBatch,
}

impl Mode {
    /// What the graph keeps besides weights, in the order of all graphs of a network.
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
            _ => Statistics::Batch {
                update_running: self.updates(),
            },
        }
    }
}

/// The graph of one batch.
///
/// # Errors
/// If the network cannot take such a batch: batch norm of a single value.
pub fn step_graph(
    network: &Network,
    batch: usize,
    input: &Input,
    mode: Mode,
    passes: Passes,
) -> Result<Graph, GraphError> {
    let mut graph = network.declarations(&mode.kinds());
    let loss_scale = loss_scale(&mut graph, mode, passes);

    let logits = network.forward(&mut graph, batch, input, mode.statistics())?;
    if passes.fuse {
        rewrite::fuse_forward(&mut graph);
        rewrite::fuse_loads(&mut graph);
    }
    let losses = loss(&mut graph, batch, logits)?;

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
/// None for a legal network.
pub fn update_graph(network: &Network, passes: Passes) -> Result<Graph, GraphError> {
    let mode = Mode::MicroBatch;
    let mut graph = network.declarations(&mode.kinds());
    let loss_scale = loss_scale(&mut graph, mode, passes);
    update(&mut graph, Arena::Sums, loss_scale)?;
    // The next step's sums begin at zero.
    graph.clears.push(Arena::Sums);
    graph.validate()?;
    Ok(graph)
}

/// Declares the state of loss scaling, where the loss is scaled.
fn loss_scale(graph: &mut Graph, mode: Mode, passes: Passes) -> Option<ValueId> {
    let scaled = mode.updates() && passes.precision == Precision::F16;
    scaled.then(|| graph.external(names::LOSS_SCALE, ops::LossScale::shape()))
}

/// Cross-entropy of each image, and its contribution to the metrics.
fn loss(graph: &mut Graph, batch: usize, logits: ValueId) -> Result<ValueId, GraphError> {
    let labels = graph.external(names::LABELS, Shape::indices(&[batch]));
    let operands = ops::SoftmaxCrossEntropyInputs { logits, labels };
    let op = ops::SoftmaxCrossEntropy;
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

/// Gradients of the weighted sum of the losses, into their arena.
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
    for (gradient, kept) in gradients.into_iter().zip(kept) {
        let gradient = gradient.expect("the loss depends on every parameter");
        graph.store(gradient, kept);
    }
    Ok(())
}

/// Adds the gradients to their sums.
fn accumulate(graph: &mut Graph) -> Result<(), GraphError> {
    let operands = ops::AccumulateInputs {
        sums: graph.arena(Arena::Sums),
        gradients: graph.arena(Arena::Gradients),
    };
    graph.push(ops::Accumulate, &operands.list(), "sums")?;
    Ok(())
}

/// Stochastic gradient descent with the gradients of an arena. With a scaled loss, a step whose
/// gradients overflow changes nothing but the scale.
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
        let operands = ops::AdjustLossScaleInputs { scale, metrics };
        graph.push(ops::AdjustLossScale, &operands.list(), "loss scale")?;
    }
    Ok(())
}
