//! Runs a network on recorded arrays and measures the difference of its results from recorded
//! ones, for example from PyTorch.

use crate::engine::{Device, Engine, EngineError, TensorKind, Tensors};
use crate::graph::ops::Metrics;
use crate::graph::step::Step;
use crate::graph::{Graph, GraphError, Passes};
use crate::kernels::Choices;
use crate::model::{Input, Network, names};
use crate::train::{Mode, step_graph};

/// A recorded batch, in PyTorch's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedBatch {
    /// Normalised images, f32 [N, 3, H, W].
    pub input: Vec<f32>,
    /// N.
    pub size: usize,
    /// Class indices `[N]`; [`logits`] does not need them.
    pub labels: Vec<u32>,
}

/// Hyper-parameters of a few steps of SGD on one batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSteps {
    /// Number of steps.
    pub steps: usize,
    /// Learning rate.
    pub learning_rate: f32,
    /// Nesterov momentum.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
}

/// Difference between two sets of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Largest absolute difference.
    pub max_abs: f64,
    /// L2 norm of the difference over that of the reference.
    pub rel_l2: f64,
    /// Largest absolute value of the reference.
    pub largest: f64,
}

impl Difference {
    /// Compares the tensors of a set with those of the same names.
    ///
    /// # Panics
    /// If `reference` lacks one.
    pub fn of_tensors(ours: &Tensors, reference: &Tensors) -> Difference {
        let pairs = ours.iter();
        Difference::between(pairs.map(|(name, a)| (a.as_slice(), reference[name].as_slice())))
    }

    /// Compares all pairs (ours, reference) together; a difference that is not finite counts as
    /// infinite.
    pub fn between<'a>(pairs: impl IntoIterator<Item = (&'a [f32], &'a [f32])>) -> Difference {
        let (mut max_abs, mut distance, mut norm, mut largest) = (0.0f64, 0.0, 0.0, 0.0f64);
        for (ours, reference) in pairs {
            for (a, b) in ours.iter().zip(reference) {
                let (a, b) = (f64::from(*a), f64::from(*b));
                let difference = match (a - b).is_finite() {
                    true => (a - b).abs(),
                    false => f64::INFINITY,
                };
                max_abs = max_abs.max(difference);
                distance += difference * difference;
                norm += b * b;
                largest = largest.max(b.abs());
            }
        }
        let rel_l2 = match distance == 0.0 {
            true => 0.0,
            false => (distance / norm).sqrt(),
        };
        Difference {
            max_abs,
            rel_l2,
            largest,
        }
    }
}

/// The tensors of `state` minus those of `start`; a tensor that only one of them has is left out.
pub fn change(state: &Tensors, start: &Tensors) -> Tensors {
    let difference = |(name, after): (&String, &Vec<f32>)| {
        let pairs = after.iter().zip(start.get(name)?);
        Some((name.clone(), pairs.map(|(a, b)| a - b).collect()))
    };
    state.iter().filter_map(difference).collect()
}

/// The graph of [`logits`] of a batch of `size` images.
///
/// # Errors
/// None for a valid network.
pub fn logits_graph(network: &Network, size: usize) -> Result<Graph, GraphError> {
    network.prediction_graph(size, &Input::Tensor, Passes::default())
}

/// The graph of [`gradients`] of a batch of `size` images.
///
/// # Errors
/// If the network cannot be trained on such a batch.
pub fn gradients_graph(network: &Network, size: usize) -> Result<Graph, GraphError> {
    let (input, mode) = (Input::Tensor, Mode::Gradients);
    step_graph(network, size, &input, mode, Passes::default())
}

/// The graph of [`steps`] on a batch of `size` images.
///
/// # Errors
/// If the network cannot be trained on such a batch.
pub fn steps_graph(network: &Network, size: usize) -> Result<Graph, GraphError> {
    let (input, mode) = (Input::Tensor, Mode::Train);
    step_graph(network, size, &input, mode, Passes::default())
}

/// Logits of the batch, computed with running statistics, f32 [N, K].
///
/// # Errors
/// If the device cannot run the network.
pub async fn logits(
    device: &Device,
    network: &Network,
    weights: &Tensors,
    batch: &RecordedBatch,
) -> Result<Vec<f32>, EngineError> {
    let graph = logits_graph(network, batch.size)?;
    let mut engine = load(device, network, weights, batch, graph)?;
    engine.run(0)?;
    engine.read_values(engine.value(names::LOGITS)).await
}

/// Gradients of the mean cross-entropy in training mode, by parameter name.
///
/// # Errors
/// If the device cannot run the network.
pub async fn gradients(
    device: &Device,
    network: &Network,
    weights: &Tensors,
    batch: &RecordedBatch,
) -> Result<Tensors, EngineError> {
    let graph = gradients_graph(network, batch.size)?;
    let mut engine = load_step(device, network, weights, batch, graph)?;
    engine.run(0)?;
    engine.read_tensors(network, TensorKind::Gradients).await
}

/// Parameters and running statistics after some steps of SGD on the batch, and the mean loss
/// before each step's update.
///
/// # Errors
/// If the device cannot run the network.
pub async fn steps(
    device: &Device,
    network: &Network,
    weights: &Tensors,
    batch: &RecordedBatch,
    sgd: SgdSteps,
) -> Result<(Tensors, Vec<f32>), EngineError> {
    let graph = steps_graph(network, batch.size)?;
    let mut engine = load_step(device, network, weights, batch, graph)?;
    let step = Step {
        epoch: 1,
        learning_rate: sgd.learning_rate,
        momentum: sgd.momentum,
        weight_decay: sgd.weight_decay,
        ..Step::default()
    };
    engine.write(engine.value(names::STEP), &step.to_words());
    let metrics = engine.value(names::METRICS);
    let mut losses = Vec::new();
    for _ in 0..sgd.steps {
        engine.clear(metrics);
        engine.run(0)?;
        let words = engine.read(metrics).await?;
        losses.push(Metrics::from_words(&words).loss / batch.size as f32);
    }
    let state = engine.read_tensors(network, TensorKind::Weights).await?;
    Ok((state, losses))
}

/// Loads the graph of a training step, with the batch, its labels and loss weights 1/N.
fn load_step(
    device: &Device,
    network: &Network,
    weights: &Tensors,
    batch: &RecordedBatch,
    graph: Graph,
) -> Result<Engine, EngineError> {
    let mut engine = load(device, network, weights, batch, graph)?;
    engine.write(engine.value(names::LABELS), &batch.labels);
    let weight = (1.0 / batch.size as f32).to_bits();
    let weights = vec![weight; batch.size];
    engine.write(engine.value(names::LOSS_WEIGHTS), &weights);
    Ok(engine)
}

fn load(
    device: &Device,
    network: &Network,
    weights: &Tensors,
    batch: &RecordedBatch,
    graph: Graph,
) -> Result<Engine, EngineError> {
    let mut engine = Engine::new(device, vec![graph], &Choices::default())?;
    engine.write_tensors(network, TensorKind::Weights, weights);
    let size = network.spec().image_size as usize;
    let input = channels_last(&batch.input, size);
    engine.write_values(engine.value(names::INPUT), &input);
    Ok(engine)
}

/// [N, 3, H, W] to [N, H, W, 3].
fn channels_last(input: &[f32], size: usize) -> Vec<f32> {
    let plane = size * size;
    let mut output = Vec::with_capacity(input.len());
    for image in input.chunks_exact(3 * plane) {
        for pixel in 0..plane {
            output.extend([0, 1, 2].map(|channel| image[channel * plane + pixel]));
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_covers_the_tensors_that_both_have() {
        let tensors = |pairs: &[(&str, f32)]| -> Tensors {
            let owned = pairs.iter();
            owned.map(|(n, v)| ((*n).to_owned(), vec![*v])).collect()
        };
        let state = tensors(&[("a", 3.0), ("extra", 1.0)]);
        let start = tensors(&[("a", 1.0), ("b", 1.0)]);
        assert_eq!(change(&state, &start), tensors(&[("a", 2.0)]));
    }
}
