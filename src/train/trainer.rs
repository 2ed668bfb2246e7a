//! The body of the training loop: one optimiser step at a time.
//!
//! A run depends only on arguments and on its [`Snapshot`]: a run that stops at any step and
//! resumes on the same adapter with the same kernels computes the same bits as one that did not
//! stop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::augmentation::AugmentationValues;
use super::evaluate::{Detail, EvaluationPass, EvaluationValues, read_metrics};
use super::input_pipeline::{BatchValues, Batches, InputPipeline};
use super::snapshot::{EpochOrder, Position, Snapshot};
use super::step_graph::{Mode, StepOptions, step_graph_with, update_graph};
use super::{Recipe, Totals, TrainError};
use crate::checkpoint::first_not_finite;
use crate::data::{EpochKey, Source};
use crate::engine::{Device, Engine, EngineError, TensorKind, Tensors, ValueHandle};
use crate::graph::ops::{LossScale, METRIC_WORDS, Metrics};
use crate::graph::step::Step;
use crate::graph::{Arena, Graph, Passes, Precision};
use crate::kernels::Choices;
use crate::model::{BatchAugmentation, Network, Parameter, ParameterRole, Preprocessing, names};
use crate::shape::LANES;

/// Options of a [`Trainer`].
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Optimiser and schedule.
    pub recipe: Recipe,
    /// Size of a micro-batch, if smaller than the batch: gradients are accumulated, and batch norm
    /// uses the statistics of the micro-batch.
    pub micro_batch: Option<usize>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// The passes over the graphs.
    pub passes: Passes,
    /// Threads that read batches ahead, for a split in neither host nor device memory.
    pub workers: usize,
    /// Mean and standard deviation of the channels.
    pub preprocessing: Preprocessing,
}

impl Options {
    fn sizes(&self, images: usize) -> Vec<usize> {
        chunk_sizes(images, self.recipe.batch_size, self.micro_batch)
    }

    fn step(&self) -> StepOptions {
        StepOptions {
            label_smoothing: self.recipe.label_smoothing,
            clip_norm: self.recipe.clip_grad_norm,
            ema: self.recipe.ema,
        }
    }
}

/// A training run on a device.
pub struct Trainer {
    engine: Engine,
    network: Network,
    options: Options,
    train: InputPipeline,
    test: InputPipeline,
    values: Values,
    /// Sizes of the micro-batches, or batches, by the index of their graph.
    sizes: Vec<usize>,
    evaluation_graph: usize,
    /// With micro-batches, the graph of the update.
    update_graph: Option<usize>,
    position: Position,
    batches: Option<Batches>,
    /// The evaluation in progress; the device's metrics are then those of the test split.
    evaluation: Option<EvaluationPass>,
}

/// The values that a step writes and reads.
struct Values {
    train: BatchValues,
    augmentation: AugmentationValues,
    test: EvaluationValues,
    loss_weights: ValueHandle,
    step: ValueHandle,
    metrics: ValueHandle,
    /// With half-precision activations.
    loss_scale: Option<ValueHandle>,
}

impl Trainer {
    /// All graphs of a run: training on batches, or micro-batches, of each size that occurs,
    /// evaluation in batches of the largest one, and the update after micro-batches.
    ///
    /// # Errors
    /// If a batch is too small for the network.
    pub fn graphs(
        device: &Device,
        network: &Network,
        options: &Options,
        train: &Arc<dyn Source>,
        test: &Arc<dyn Source>,
    ) -> Result<Vec<Graph>, TrainError> {
        let [train, test] = inputs(device, options, train, test);
        let sizes = options.sizes(train.len());
        let mode = match options.micro_batch {
            Some(_) => Mode::MicroBatch,
            None => Mode::Train,
        };
        // All sizes share the value that holds the images, so it has the largest size.
        let recipe = &options.recipe;
        let input = train.input(sizes[0], &options.preprocessing, recipe.augmentation());
        let (step, passes) = (options.step(), options.passes);
        let mut graphs = Vec::new();
        for size in &sizes {
            let graph = step_graph_with(network, *size, &input, mode, step, passes);
            graphs.push(graph.map_err(|source| TrainError::Batch {
                size: *size,
                images: train.len(),
                batch_size: recipe.batch_size,
                source,
            })?);
        }
        let none = BatchAugmentation::default();
        let input = test.input(sizes[0], &options.preprocessing, none);
        let evaluation = step_graph_with(network, sizes[0], &input, Mode::Evaluate, step, passes);
        graphs.push(evaluation?);
        if mode == Mode::MicroBatch {
            graphs.push(update_graph(network, step, passes)?);
        }
        Ok(graphs)
    }

    /// Builds the [`Trainer::graphs`] of a run on a device. `choose` selects their kernels.
    ///
    /// # Errors
    /// If the device cannot hold or run them.
    pub fn new(
        device: &Device,
        network: Network,
        options: Options,
        train: Arc<dyn Source>,
        test: Arc<dyn Source>,
        choose: impl FnOnce(&[Graph]) -> Result<Choices, EngineError>,
    ) -> Result<Trainer, TrainError> {
        let graphs = Trainer::graphs(device, &network, &options, &train, &test)?;
        let [train, test] = inputs(device, &options, &train, &test);
        let sizes = options.sizes(train.len());
        let evaluation_graph = sizes.len();
        let update_graph = options.micro_batch.map(|_| evaluation_graph + 1);
        let choices = choose(&graphs)?;
        let mut engine = Engine::new(device, graphs, &choices)?;
        let half = options.passes.precision == Precision::F16;
        let values = Values {
            train: train.upload(&mut engine),
            augmentation: AugmentationValues::new(
                &options.recipe.augmentation(),
                sizes[0],
                &mut engine,
            ),
            test: EvaluationValues::new(&test, &mut engine),
            loss_weights: engine.value(names::LOSS_WEIGHTS),
            step: engine.value(names::STEP),
            metrics: engine.value(names::METRICS),
            loss_scale: half.then(|| engine.value(names::LOSS_SCALE)),
        };
        Ok(Trainer {
            engine,
            network,
            options,
            train,
            test,
            values,
            sizes,
            evaluation_graph,
            update_graph,
            position: Position::start(),
            batches: None,
            evaluation: None,
        })
    }

    /// Restores a state, to start or resume a run.
    ///
    /// # Panics
    /// If the tensors do not match the network, or the position does not fit the training images
    /// and the recipe ([`Position::fits`]); callers check first.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        assert!(
            snapshot.position.fits(&self.order()),
            "a position of another epoch order"
        );
        self.engine
            .write_tensors(&self.network, TensorKind::Weights, &snapshot.weights);
        for (kind, tensors) in &snapshot.optimizer {
            self.engine.write_tensors(&self.network, *kind, tensors);
        }
        if self.options.recipe.ema.is_some() {
            let averages = TensorKind::Averages;
            self.engine
                .write_tensors(&self.network, averages, snapshot.result());
        }
        self.engine
            .write(self.values.metrics, &snapshot.position.metrics);
        self.position = snapshot.position;
        if let Some(loss_scale) = self.values.loss_scale {
            let fresh = LossScale::initial().to_words();
            let words = snapshot.position.loss_scale.unwrap_or(fresh);
            self.engine.write(loss_scale, &words);
        }
        // A failed step may have left partial sums.
        self.engine.clear_arena(Arena::Sums);
        self.batches = None;
        self.evaluation = None;
    }

    /// The state from which the run can resume.
    ///
    /// # Errors
    /// If the device fails, or the run has diverged: a state with a NaN or an infinity is never
    /// returned.
    pub async fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        if self.evaluation.is_none() {
            self.collect().await?;
        }
        if let Some(loss_scale) = self.values.loss_scale {
            let words = self.engine.read(loss_scale).await?;
            let words = words.try_into().expect("the loss scale has its shape");
            self.position.loss_scale = Some(words);
        }
        self.position.order = Some(self.order());
        let weights = self.finite_tensors(TensorKind::Weights).await?;
        let mut optimizer = BTreeMap::new();
        for kind in TensorKind::optimizer_state() {
            optimizer.insert(kind, self.finite_tensors(kind).await?);
        }
        let averages = match self.options.recipe.ema {
            Some(_) => Some(self.finite_tensors(TensorKind::Averages).await?),
            None => None,
        };
        Ok(Snapshot {
            weights,
            optimizer,
            averages,
            position: self.position,
        })
    }

    /// Progress of the run, with the metrics of the last [`Trainer::collect`].
    pub fn position(&self) -> Position {
        self.position
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The engine: kernels in use, bytes on the device.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What determines which images a step processes.
    fn order(&self) -> EpochOrder {
        EpochOrder {
            seed: self.options.seed,
            images: self.train.len(),
            batch_size: self.options.recipe.batch_size,
        }
    }

    /// Optimiser steps per epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.order().steps()
    }

    /// The options of [`Trainer::new`].
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Number of training images.
    pub fn images_per_epoch(&self) -> usize {
        self.train.len()
    }

    /// Training images of the epoch that have been submitted to the device.
    pub fn images_done(&self) -> usize {
        self.order().images_after(self.position.step)
    }

    /// Number of test images.
    pub fn test_images(&self) -> usize {
        self.test.len()
    }

    /// Whether all steps of the epoch are done.
    pub fn epoch_done(&self) -> bool {
        self.position.step == self.steps_per_epoch()
    }

    /// Time spent waiting for data in this epoch, since its start or the last
    /// [`Trainer::restore`].
    pub fn waited(&self) -> Duration {
        let batches = self.batches.as_ref();
        batches.map_or(Duration::ZERO, Batches::waited)
    }

    /// Submits one optimiser step; returns its number of images.
    ///
    /// # Errors
    /// If data or device fail.
    ///
    /// # Panics
    /// If the epoch is done: call [`Trainer::next_epoch`] first.
    pub fn step(&mut self) -> Result<usize, TrainError> {
        assert!(!self.epoch_done(), "the epoch has no further step");
        if self.batches.is_none() {
            let key = self.options.recipe.augment.then(|| self.epoch_key());
            self.batches = Some(self.train.batches(self.remaining_batches(), key));
        }
        let total = self.batch_at(self.position.step);
        self.write_step();
        let chunk = self.chunk();
        let mut number = self.position.step * self.options.recipe.batch_size.div_ceil(chunk) as u32;
        let mut done = 0;
        while done < total {
            let batches = self.batches.as_mut().expect("made above");
            let batch = batches.next().expect("the order covers the epoch")?;
            let size = batch.indices.len();
            let graph = self.sizes.iter().position(|s| *s == size);
            self.train
                .write(&mut self.engine, &self.values.train, &batch, size);
            let (recipe, image_size) = (&self.options.recipe, self.network.spec().image_size);
            let key = self.epoch_key();
            let augmentation = &self.values.augmentation;
            augmentation.write(&mut self.engine, recipe, image_size, key, &batch, number);
            number += 1;
            let weight = 1.0 / total as f32;
            let weights = vec![weight.to_bits(); size];
            self.engine.write(self.values.loss_weights, &weights);
            self.engine.run(graph.expect("every size has a graph"))?;
            self.position.batches_tracked += 1;
            done += size;
        }
        if let Some(update) = self.update_graph {
            self.engine.run(update)?;
        }
        self.position.step += 1;
        Ok(total)
    }

    /// Reads the metrics that the device has accumulated, after all submitted steps.
    ///
    /// # Errors
    /// If the device fails, or a loss or gradient was NaN or infinite.
    pub async fn collect(&mut self) -> Result<Totals, TrainError> {
        let metrics = read_metrics(&self.engine, self.values.metrics).await?;
        if metrics.diverged() {
            return Err(self.diverged(&metrics).await?);
        }
        self.position.metrics = metrics.to_words();
        Ok(self.position.totals())
    }

    /// Evaluates the next batch of the test split with the current weights, or their averages if the
    /// run keeps any. Returns the number of images done and, after the last one, the totals.
    ///
    /// # Errors
    /// If data or device fail, or a logit is NaN or infinite.
    pub async fn evaluate_batch(&mut self) -> Result<(usize, Option<Totals>), TrainError> {
        let mut pass = match self.evaluation.take() {
            Some(pass) => pass,
            None => {
                self.collect().await?;
                let (graph, size) = (self.evaluation_graph, self.sizes[0]);
                let (engine, values) = (&mut self.engine, &self.values.test);
                EvaluationPass::begin(engine, &self.test, values, graph, size, Detail::Totals)
            }
        };
        let values = &self.values.test;
        pass.batch(&mut self.engine, &self.test, values).await?;
        let done = pass.done();
        if done < self.test.len() {
            self.evaluation = Some(pass);
            return Ok((done, None));
        }
        match pass.finish(&self.engine, values).await {
            Ok(evaluation) => {
                self.engine
                    .write(self.values.metrics, &self.position.metrics);
                Ok((done, Some(evaluation.totals)))
            }
            Err(TrainError::Scores) => {
                let what = "in the evaluation after it, a logit";
                Err(self.divergence(self.position.step, None, what))
            }
            Err(error) => Err(error),
        }
    }

    /// Starts the next epoch.
    pub fn next_epoch(&mut self) {
        self.position.epoch += 1;
        self.position.step = 0;
        self.position.metrics = [0; METRIC_WORDS];
        self.engine.clear(self.values.metrics);
        self.batches = None;
    }

    /// Number of images of a step.
    fn batch_at(&self, step: u32) -> usize {
        let order = self.order();
        order.images_after(step + 1) - order.images_after(step)
    }

    /// The key of the random numbers of the epoch.
    fn epoch_key(&self) -> EpochKey {
        EpochKey {
            seed: self.options.seed,
            epoch: self.position.epoch,
        }
    }

    /// Images of a micro-batch, or batch, that is not the last.
    fn chunk(&self) -> usize {
        let batch = self.options.recipe.batch_size;
        self.options.micro_batch.unwrap_or(batch)
    }

    /// Image indices of all remaining micro-batches, or batches, of the epoch.
    fn remaining_batches(&self) -> Vec<Vec<u32>> {
        let order = self.epoch_key().order(self.train.len());
        let (batch, chunk) = (self.options.recipe.batch_size, self.chunk());
        let remaining = order.chunks(batch).skip(self.position.step as usize);
        remaining
            .flat_map(|batch| batch.chunks(chunk).map(<[u32]>::to_vec))
            .collect()
    }

    /// Learning rate of the next step.
    fn learning_rate(&self) -> f32 {
        let Position { epoch, step, .. } = self.position;
        let recipe = &self.options.recipe;
        recipe.learning_rate(epoch, step, self.steps_per_epoch())
    }

    fn write_step(&mut self) {
        let recipe = &self.options.recipe;
        let step = Step {
            seed: self.options.seed,
            epoch: self.position.epoch,
            learning_rate: self.learning_rate(),
            momentum: recipe.momentum,
            weight_decay: recipe.weight_decay,
        };
        self.engine.write(self.values.step, &step.to_words());
    }

    /// Reads all tensors of a kind, none of which may have a NaN or an infinity.
    async fn finite_tensors(&self, kind: TensorKind) -> Result<Tensors, TrainError> {
        let tensors = self.engine.read_tensors(&self.network, kind).await?;
        match self.first_bad(&tensors) {
            None => Ok(tensors),
            Some(name) => {
                let what = format!("the {}", kind.value_name(&name));
                Err(self.divergence(self.position.step, None, &what))
            }
        }
    }

    /// Names the first tensor, in the order of the layers, that has a NaN or an infinity.
    fn first_bad(&self, tensors: &Tensors) -> Option<String> {
        let is_bad = |values: &Vec<f32>| first_not_finite(values).is_some();
        let mut parameters = self.network.parameters().into_iter();
        let Parameter { name, role, .. } =
            parameters.find(|parameter| tensors.get(&parameter.name).is_some_and(is_bad))?;
        let layer = name.rsplit_once('.').map_or(&*name, |(layer, _)| layer);
        Some(match role {
            ParameterRole::RunningMean => format!("running mean of {layer}"),
            ParameterRole::RunningVar => format!("running variance of {layer}"),
            _ => name,
        })
    }

    /// The error of a run whose metrics have a NaN or an infinity: where it first occurred.
    ///
    /// # Errors
    /// If the device fails.
    async fn diverged(&self, metrics: &Metrics) -> Result<TrainError, TrainError> {
        // All batches of the epoch so far, as step and micro-batch.
        let chunk = self.options.micro_batch.unwrap_or(usize::MAX);
        let mut batches: Vec<(u32, u32)> = (0..self.position.step)
            .flat_map(|step| {
                let count = self.batch_at(step).div_ceil(chunk) as u32;
                (1..=count).map(move |batch| (step + 1, batch))
            })
            .collect();
        let halted = metrics.halted as usize;
        let tensor = |vector: u32| {
            let bytes = 4 * LANES as u64;
            self.network.tensor_at(u64::from(vector - 1) * bytes).name
        };
        let (later, in_loss, what) = match (metrics.gradient, metrics.update) {
            (0, 0) => {
                let weights = TensorKind::Weights;
                let weights = self.engine.read_tensors(&self.network, weights).await?;
                let what = self.first_bad(&weights).unwrap_or_else(|| {
                    let classifier = self.network.head.last().map(|layer| &layer.name);
                    format!(
                        "loss of the logits of {}",
                        classifier.expect("a classifier")
                    )
                });
                (halted.saturating_sub(1), true, what)
            }
            (0, vector) => (halted, false, format!("update of {}", tensor(vector))),
            (vector, _) => (halted, false, format!("gradient of {}", tensor(vector))),
        };
        batches.truncate(batches.len().saturating_sub(later));
        let (step, batch) = batches.last().copied().unwrap_or((self.position.step, 1));
        let micro_batch = self.options.micro_batch.and(in_loss.then_some(batch));
        Ok(self.divergence(step, micro_batch, &format!("the {what}")))
    }

    fn divergence(&self, step: u32, micro_batch: Option<u32>, what: &str) -> TrainError {
        let hint = match self.options.passes.precision {
            Precision::F16 => " (half precision overflows above 65504; try --precision f32)",
            Precision::F32 => "",
        };
        TrainError::Diverged {
            epoch: self.position.epoch,
            step,
            micro_batch,
            what: format!("{what} is NaN or infinite{hint}"),
        }
    }
}

/// The training and the test split on their way to the device.
fn inputs(
    device: &Device,
    options: &Options,
    train: &Arc<dyn Source>,
    test: &Arc<dyn Source>,
) -> [InputPipeline; 2] {
    [(train, names::TRAIN_IMAGES), (test, names::EVAL_IMAGES)].map(|(source, value)| {
        InputPipeline::new(Arc::clone(source), value, device, options.workers)
    })
}

/// Sizes of all micro-batches, or batches, that occur in an epoch, the largest first.
fn chunk_sizes(images: usize, batch: usize, micro_batch: Option<usize>) -> Vec<usize> {
    let chunk = micro_batch.unwrap_or(batch);
    let mut sizes: Vec<usize> = [batch.min(images), images % batch]
        .iter()
        .flat_map(|batch| [chunk.min(*batch), batch % chunk])
        .filter(|size| *size > 0)
        .collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_every_size_get_a_graph() {
        assert_eq!(chunk_sizes(50_000, 128, None), [128, 80]);
        assert_eq!(chunk_sizes(8_000, 32, None), [32]);
        assert_eq!(chunk_sizes(50_000, 128, Some(48)), [48, 32]);
        assert_eq!(chunk_sizes(10, 128, Some(48)), [10]);
    }
}
