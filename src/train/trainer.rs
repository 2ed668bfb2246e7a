//! The body of the training loop: one optimiser step at a time.
//!
//! A run depends only on arguments and on its [`Snapshot`]: a run that stops at any step and
//! resumes on the same devices, in the same order, with the same kernels computes the same bits as one
//! that did not stop.

mod divergence;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::input_pipeline::{Batches, InputPipeline};
use super::replica::{Replica, StepContext};
use super::replicas::Replicas;
use super::shares::{Division, MicroBatch, shares, weights};
use super::snapshot::{EpochOrder, Position, Snapshot};
use super::step_graph::{Mode, StepOptions, step_graph_with, update_graph};
use super::{Recipe, Totals, TrainError};
use crate::data::{EpochKey, Source};
use crate::engine::{Device, Engine, EngineError, TensorKind, Tensors};
use crate::graph::ops::{LossScale, METRIC_WORDS};
use crate::graph::step::Step;
use crate::graph::{Arena, Graph, Passes, Precision};
use crate::kernels::Choices;
use crate::model::{BatchAugmentation, Network, Preprocessing, names};
use crate::ranks::Ranks;

/// Options of a [`Trainer`].
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Optimiser and schedule.
    pub recipe: Recipe,
    /// Size of a micro-batch, if smaller than the batch: gradients are accumulated, and batch norm
    /// uses the statistics of the micro-batch, unless it is synchronised.
    pub micro_batch: Option<usize>,
    /// Relative shares of the replicas in a batch, one for each; empty for equal ones.
    pub shares: Vec<u32>,
    /// Whether batch norm is synchronised: it uses the statistics of the micro-batches, or shares, that
    /// all replicas compute at the same time.
    pub sync_batch_norm: bool,
    /// Precision in which ranks send each other sums of gradients; they are added in single precision.
    pub gradients: Precision,
    /// Seed of all random numbers.
    pub seed: u64,
    /// The passes over the graphs.
    pub passes: Passes,
    /// Threads that read batches ahead, for a split in neither host nor device memory.
    pub workers: usize,
    /// Mean and standard deviation of the channels.
    pub preprocessing: Preprocessing,
}

/// Bytes of gradients that are worth a copy and a submission of their own: a bus with sixteen lanes of
/// PCIe 4 moves them in 40 microseconds.
const SMALLEST_BUCKET: u64 = 1 << 20;

impl Options {
    /// How batches are divided among so many replicas.
    fn division(&self, replicas: usize) -> Division {
        Division {
            weights: weights(&self.shares, replicas),
            micro_batch: self.micro_batch,
            synchronized: self.sync_batch_norm && replicas > 1,
        }
    }

    /// The kinds of micro-batches, or batches, of an epoch.
    fn kinds(&self, images: usize, replicas: usize) -> Vec<MicroBatch> {
        self.division(replicas)
            .kinds(images, self.recipe.batch_size)
    }

    fn step(&self) -> StepOptions {
        StepOptions {
            label_smoothing: self.recipe.label_smoothing,
            clip_norm: self.recipe.clip_grad_norm,
            ema: self.recipe.ema,
            synchronized: None,
            bucket: None,
        }
    }
}

/// A training run on one or several devices, perhaps one of several ranks.
pub struct Trainer {
    replicas: Replicas,
    network: Network,
    options: Options,
    train: InputPipeline,
    test: InputPipeline,
    /// The kinds of micro-batches, or batches, by the index of their graph.
    kinds: Vec<MicroBatch>,
    division: Division,
    evaluation_graph: usize,
    /// With micro-batches, or several replicas, the graph of the update.
    update_graph: Option<usize>,
    position: Position,
    batches: Option<Batches>,
    /// Batches of the evaluation in progress that each replica has done; the devices' metrics are
    /// then those of the test split.
    evaluation: Option<usize>,
}

impl Trainer {
    /// The number of replicas of a run on some devices and, if there are several, on all ranks.
    ///
    /// # Panics
    /// If the ranks do not know their replicas ([`Ranks::set_replicas`]).
    pub fn replicas(devices: &[Device], ranks: Option<&Ranks>) -> usize {
        ranks.map_or(devices.len(), |ranks| ranks.placement().1)
    }

    /// The least number of bytes of a bucket of gradients ([`StepOptions::bucket`]). Each of n ranks adds
    /// 1/n of a bucket, so it grows with their number.
    pub fn bucket(replicas: usize, ranks: usize) -> Option<u64> {
        (replicas > 1).then_some(ranks as u64 * SMALLEST_BUCKET)
    }

    /// All graphs of a run: training on batches, or micro-batches, of each size that occurs, the
    /// update after micro-batches, and evaluation in batches of the largest size. They are the same
    /// for all devices, and for all ranks if there are several.
    ///
    /// # Errors
    /// If a batch is too small for the network.
    ///
    /// # Panics
    /// If the ranks do not know their replicas ([`Ranks::set_replicas`]).
    pub fn graphs(
        devices: &[Device],
        ranks: Option<&Ranks>,
        network: &Network,
        options: &Options,
        train: &Arc<dyn Source>,
        test: &Arc<dyn Source>,
    ) -> Result<Vec<Graph>, TrainError> {
        let [train, test] = inputs(devices, options, train, test);
        let replicas = Trainer::replicas(devices, ranks);
        let kinds = options.kinds(train.len(), replicas);
        let largest = kinds[0].images;
        let mode = match (options.micro_batch, replicas) {
            (None, 1) => Mode::Train,
            _ => Mode::MicroBatch,
        };
        // All sizes share the value that holds the images, so it has the largest size.
        let recipe = &options.recipe;
        let input = train.input(largest, &options.preprocessing, recipe.augmentation());
        let (step, passes) = (options.step(), options.passes);
        let mut graphs = Vec::new();
        for MicroBatch {
            images,
            synchronized,
        } in kinds
        {
            let step = StepOptions {
                synchronized,
                bucket: Trainer::bucket(replicas, ranks.map_or(1, Ranks::count)),
                ..step
            };
            let graph = step_graph_with(network, images, &input, mode, step, passes);
            graphs.push(graph.map_err(|source| TrainError::Batch {
                size: images,
                images: train.len(),
                batch_size: recipe.batch_size,
                devices: replicas,
                source,
            })?);
        }
        if mode == Mode::MicroBatch {
            graphs.push(update_graph(network, step, passes)?);
        }
        let none = BatchAugmentation::default();
        let input = test.input(largest, &options.preprocessing, none);
        let evaluation = step_graph_with(network, largest, &input, Mode::Evaluate, step, passes);
        graphs.push(evaluation?);
        Ok(graphs)
    }

    /// Builds the [`Trainer::graphs`] of a run on each of some devices, of which there is at least
    /// one. `choose` selects their kernels for a device.
    ///
    /// # Errors
    /// If a device cannot hold or run them, or another rank fails.
    ///
    /// # Panics
    /// As [`Trainer::graphs`].
    pub fn new(
        devices: &[Device],
        ranks: Option<&Ranks>,
        network: Network,
        options: Options,
        train: Arc<dyn Source>,
        test: Arc<dyn Source>,
        mut choose: impl FnMut(&Device, &[Graph]) -> Result<Choices, EngineError>,
    ) -> Result<Trainer, TrainError> {
        let graphs = Trainer::graphs(devices, ranks, &network, &options, &train, &test)?;
        let [train, test] = inputs(devices, &options, &train, &test);
        let replicas = Trainer::replicas(devices, ranks);
        let kinds = options.kinds(train.len(), replicas);
        let evaluation_graph = graphs.len() - 1;
        let update_graph = (evaluation_graph > kinds.len()).then_some(kinds.len());
        let is_half = options.passes.precision == Precision::F16;
        let mut replicas = Vec::new();
        for device in devices {
            let choices = choose(device, &graphs)?;
            let engine = Engine::new(device, graphs.clone(), &choices)?;
            let inputs = [&train, &test];
            let replica = Replica::new(engine, inputs, &options.recipe, kinds[0].images, is_half);
            replicas.push(replica);
        }
        let division = options.division(Trainer::replicas(devices, ranks));
        Ok(Trainer {
            division,
            replicas: Replicas::new(replicas, ranks, options.gradients)?,
            network,
            options,
            train,
            test,
            kinds,
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
        let fresh = LossScale::initial().to_words();
        let loss_scale = snapshot.position.loss_scale.unwrap_or(fresh);
        self.position = snapshot.position;
        let metrics = self.device_metrics();
        for Replica { engine, values, .. } in self.replicas.iter_mut() {
            let network = &self.network;
            engine.write_tensors(network, TensorKind::Weights, &snapshot.weights);
            for (kind, tensors) in &snapshot.optimizer {
                engine.write_tensors(network, *kind, tensors);
            }
            if self.options.recipe.ema.is_some() {
                engine.write_tensors(network, TensorKind::Averages, snapshot.result());
            }
            engine.write(values.metrics, &metrics);
            if let Some(value) = values.loss_scale {
                engine.write(value, &loss_scale);
            }
            // A failed step may have left partial sums.
            engine.clear_arena(Arena::Sums);
        }
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
        let Replica { engine, values, .. } = self.replicas.first();
        if let Some(loss_scale) = values.loss_scale {
            let words = engine.read(loss_scale).await?;
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

    /// The engine of the first device: its weights are those of the run.
    pub fn engine(&self) -> &Engine {
        &self.replicas.first().engine
    }

    /// The engines, one for each device.
    pub fn engines(&self) -> impl Iterator<Item = &Engine> {
        self.replicas.iter().map(|replica| &replica.engine)
    }

    fn engine_of(&self, replica: usize) -> &Engine {
        let mut engines = self.engines();
        engines.nth(replica).expect("the replica exists")
    }

    /// Images of a batch for each device, on all ranks.
    pub fn shares(&self) -> Vec<usize> {
        shares(self.options.recipe.batch_size, &self.division.weights)
    }

    /// Asks to end the run early. With several ranks, all stop after the same step.
    pub fn ask_to_stop(&mut self) {
        self.replicas.ask_to_stop();
    }

    /// Whether to stop, since this rank was asked to; with several, since they have agreed on it in the
    /// last step or evaluation.
    pub fn stops(&self) -> bool {
        self.replicas.stops()
    }

    /// Bytes on all devices of this rank.
    pub fn bytes(&self) -> u64 {
        self.engines().map(Engine::bytes).sum()
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

    /// Submits one optimiser step; returns its number of images. With several devices, waits for their
    /// gradients and, with synchronised batch norm, for their statistics.
    ///
    /// # Errors
    /// If data, a device or another rank fail; with several devices, if a loss or gradient was NaN or
    /// infinite.
    ///
    /// # Panics
    /// If the epoch is done: call [`Trainer::next_epoch`] first.
    pub async fn step(&mut self) -> Result<usize, TrainError> {
        assert!(!self.epoch_done(), "the epoch has no further step");
        if self.batches.is_none() {
            let key = self.options.recipe.augment.then(|| self.epoch_key());
            self.batches = Some(self.train.batches(self.remaining_batches(), key));
        }
        let total = self.batch_at(self.position.step);
        self.write_step();
        let each = self.division.micro_batches(self.options.recipe.batch_size);
        let first = self.position.step * each.iter().map(Vec::len).sum::<usize>() as u32;
        let divided = self.division.micro_batches(total);
        let context = StepContext {
            train: &self.train,
            recipe: &self.options.recipe,
            image_size: self.network.spec().image_size,
            key: self.epoch_key(),
            kinds: &self.kinds,
            total,
        };
        let batches = self.batches.as_mut().expect("made above");
        let next = || batches.next().expect("the order covers the epoch");
        self.replicas.run(&context, &divided, first, next).await?;
        self.position.batches_tracked += self.division.updates(&divided) as u64;
        self.position.step += 1;
        if self.replicas.total() > 1 {
            let epoch = &mut self.position.metrics;
            if let Some((replica, metrics)) = self.replicas.all_reduce(epoch).await? {
                return Err(self.diverged(replica, &metrics).await?);
            }
        }
        if let Some(update) = self.update_graph {
            self.replicas.update(update).await?;
        }
        Ok(total)
    }

    /// Reads the metrics that the device has accumulated, after all submitted steps.
    ///
    /// # Errors
    /// If the device fails, or a loss or gradient was NaN or infinite.
    pub async fn collect(&mut self) -> Result<Totals, TrainError> {
        let (replica, metrics) = self.replicas.metrics().await?;
        if metrics.diverged() {
            return Err(self.diverged(replica, &metrics).await?);
        }
        // Several replicas have handed over their counts after each step.
        if self.replicas.total() == 1 {
            self.position.metrics = metrics.to_words();
        }
        Ok(self.position.totals())
    }

    /// Evaluates the next batch of the test split, on each replica one, with the current weights, or
    /// their averages if the run keeps any. Returns the number of images done and, after the last one,
    /// the totals.
    ///
    /// # Errors
    /// If data, device or another rank fail, or a logit is NaN or infinite.
    pub async fn evaluate_batch(&mut self) -> Result<(usize, Option<Totals>), TrainError> {
        let size = self.kinds[0].images;
        let before = match self.evaluation {
            Some(rounds) => rounds,
            None => {
                self.collect().await?;
                let graph = self.evaluation_graph;
                self.replicas
                    .begin_evaluation(&self.test, graph, size)
                    .await?;
                0
            }
        };
        self.replicas.evaluate(&self.test)?;
        let rounds = before + 1;
        let done = (rounds * self.replicas.total() * size).min(self.test.len());
        if done < self.test.len() {
            self.evaluation = Some(rounds);
            return Ok((done, None));
        }
        self.evaluation = None;
        match self.replicas.end_evaluation().await {
            Ok(tested) => {
                let metrics = self.device_metrics();
                for Replica { engine, values, .. } in self.replicas.iter_mut() {
                    engine.write(values.metrics, &metrics);
                }
                Ok((done, Some(Totals::from(&tested))))
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
        for Replica { engine, values, .. } in self.replicas.iter_mut() {
            engine.clear(values.metrics);
        }
        self.batches = None;
    }

    /// The metrics that a device has at the present position: those of the epoch, but none with
    /// several devices, which hand them over after each step.
    fn device_metrics(&self) -> [u32; METRIC_WORDS] {
        match self.replicas.total() {
            1 => self.position.metrics,
            _ => [0; METRIC_WORDS],
        }
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

    /// Image indices of all remaining micro-batches, or batches, of the epoch on this rank.
    fn remaining_batches(&self) -> Vec<Vec<u32>> {
        let order = self.epoch_key().order(self.train.len());
        let batches = order.chunks(self.options.recipe.batch_size);
        let mut remaining = Vec::new();
        for mut batch in batches.skip(self.position.step as usize) {
            let all = self.division.micro_batches(batch.len());
            for (number, parts) in all.into_iter().enumerate() {
                for part in parts {
                    let (own, others) = batch.split_at(part.images);
                    if self.replicas.numbers().contains(&number) {
                        remaining.push(own.to_vec());
                    }
                    batch = others;
                }
            }
        }
        remaining
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
        for Replica { engine, values, .. } in self.replicas.iter_mut() {
            engine.write(values.step, &step.to_words());
        }
    }

    /// Reads all tensors of a kind, none of which may have a NaN or an infinity.
    async fn finite_tensors(&self, kind: TensorKind) -> Result<Tensors, TrainError> {
        let tensors = self.engine().read_tensors(&self.network, kind).await?;
        match self.first_bad(&tensors) {
            None => Ok(tensors),
            Some(name) => {
                let what = format!("the {}", kind.value_name(&name));
                Err(self.divergence(self.position.step, None, &what))
            }
        }
    }
}

/// The training and the test split on their way to the device.
fn inputs(
    devices: &[Device],
    options: &Options,
    train: &Arc<dyn Source>,
    test: &Arc<dyn Source>,
) -> [InputPipeline; 2] {
    [(train, names::TRAIN_IMAGES), (test, names::EVAL_IMAGES)].map(|(source, value)| {
        InputPipeline::new(Arc::clone(source), value, devices, options.workers)
    })
}
