//! The training loop's body: one optimiser step at a time.
//!
//! Everything that a run depends on is either an argument or part of a [`Snapshot`]: a run
//! that stops at any step and resumes on the same adapter with the same kernels computes the
//! same bits as one that did not stop.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::evaluate::{chunks, clear_metrics, read_metrics};
use super::input_pipeline::Batches;
use super::{InputPipeline, Recipe, Totals, TrainError};
use crate::data::{EpochKey, Source};
use crate::engine::{Device, Engine, EngineError, TensorKind, Tensors};
use crate::graph::ops::{LOSS_SCALE_WORDS, LossScale, METRIC_WORDS, Metrics};
use crate::graph::step::Step;
use crate::graph::{Graph, Passes, Precision};
use crate::kernels::Choices;
use crate::model::{Mode, Network, Preprocessing, initial_values, names};
use crate::rng::{Purpose, Stream};

/// What a trainer needs besides the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Optimiser and schedule.
    pub recipe: Recipe,
    /// Images that go through the network at once, if fewer than a batch: gradients are
    /// summed, batch norm sees the micro-batch only.
    pub micro_batch: Option<usize>,
    /// Key of all random numbers.
    pub seed: u64,
    /// What is done to the graphs.
    pub passes: Passes,
    /// Threads that prepare batches of sets that do not fit the device.
    pub workers: usize,
    /// Mean and standard deviation of the channels.
    pub preprocessing: Preprocessing,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// The epoch under way, from 1.
    pub epoch: u32,
    /// Optimiser steps done in it.
    pub step: u32,
    /// Batches that went through batch norm since the beginning.
    pub batches_tracked: u64,
    /// The device's metrics of the epoch so far, as it holds them: a resumed epoch continues
    /// the same sums.
    pub metrics: [u32; METRIC_WORDS],
    /// The state of loss scaling, where feature maps are halves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<[u32; LOSS_SCALE_WORDS]>,
}

impl Position {
    /// Before the first step.
    pub fn start() -> Position {
        Position {
            epoch: 1,
            step: 0,
            batches_tracked: 0,
            metrics: [0; METRIC_WORDS],
            loss_scale: None,
        }
    }

    /// Metrics of the epoch so far.
    pub fn totals(&self) -> Totals {
        Totals::from(&Metrics::from_words(&self.metrics))
    }
}

/// Everything that a checkpoint must hold to continue.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Parameters and running statistics.
    pub weights: Tensors,
    /// The optimiser's velocity.
    pub momentum: Tensors,
    /// Where the run stands.
    pub position: Position,
}

impl Snapshot {
    /// Before the first step: fresh weights of a seed, no velocity.
    pub fn initial(network: &Network, seed: u64) -> Snapshot {
        let parameters = network.parameters().into_iter();
        let trainable = parameters.filter(|p| p.role.is_trainable());
        Snapshot {
            weights: initial_values(network, seed).into_iter().collect(),
            momentum: trainable
                .map(|p| (p.name.clone(), vec![0.0; p.len()]))
                .collect(),
            position: Position::start(),
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
    /// Sizes of the chunks for which there is a graph; the graph's number is the index.
    sizes: Vec<usize>,
    position: Position,
    batches: Option<Batches>,
    waited: Duration,
}

impl Trainer {
    /// Builds all graphs of a run: training on whole batches, on the smaller last one,
    /// evaluation. `choose` says which kernels compute them.
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
        let train = InputPipeline::new(train, names::TRAIN_IMAGES, device, options.workers);
        let test = InputPipeline::new(test, names::EVAL_IMAGES, device, options.workers);
        let sizes = chunk_sizes(train.len(), options.recipe.batch_size, options.micro_batch);
        let mode = match options.micro_batch {
            Some(_) => Mode::MicroBatch,
            None => Mode::Train,
        };
        let mut graphs = Vec::new();
        for size in &sizes {
            // All sizes share the value that holds the images: as large as the largest.
            let input = train.input(sizes[0], &options.preprocessing, options.recipe.augment);
            graphs.push(network.graph(*size, &input, mode, options.passes)?);
        }
        let input = test.input(sizes[0], &options.preprocessing, false);
        graphs.push(network.graph(sizes[0], &input, Mode::Evaluate, options.passes)?);
        if mode == Mode::MicroBatch {
            graphs.push(network.update_graph(options.passes)?);
        }
        let choices = choose(&graphs)?;
        let mut engine = Engine::new(device, graphs, &choices)?;
        train.upload(&mut engine);
        test.upload(&mut engine);
        clear_metrics(&mut engine);
        Ok(Trainer {
            engine,
            network,
            options,
            train,
            test,
            sizes,
            position: Position::start(),
            batches: None,
            waited: Duration::ZERO,
        })
    }

    /// Starts from, or continues, a state.
    ///
    /// # Panics
    /// If the tensors are not those of the network: callers compare first.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.engine
            .write_tensors(&self.network, TensorKind::Weights, &snapshot.weights);
        self.engine
            .write_tensors(&self.network, TensorKind::Momentum, &snapshot.momentum);
        self.engine
            .write(names::METRICS, &snapshot.position.metrics);
        self.position = snapshot.position;
        if self.options.passes.precision == Precision::F16 {
            let fresh = LossScale::start().to_words();
            let words = snapshot.position.loss_scale.unwrap_or(fresh);
            self.engine.write(names::LOSS_SCALE, &words);
        }
        self.batches = None;
    }

    /// The state to continue from.
    ///
    /// # Errors
    /// If the device fails, or the run has diverged.
    pub async fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        self.collect().await?;
        if self.options.passes.precision == Precision::F16 {
            let words = self
                .engine
                .read(names::LOSS_SCALE, LOSS_SCALE_WORDS)
                .await?;
            self.position.loss_scale = words.try_into().ok();
        }
        let (engine, network) = (&self.engine, &self.network);
        Ok(Snapshot {
            weights: engine.read_tensors(network, TensorKind::Weights).await?,
            momentum: engine.read_tensors(network, TensorKind::Momentum).await?,
            position: self.position,
        })
    }

    /// Where the run stands; metrics as of the last [`Trainer::collect`].
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

    /// Optimiser steps of one epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        let batch = self.options.recipe.batch_size;
        self.train.len().div_ceil(batch) as u32
    }

    /// Training images.
    pub fn images_per_epoch(&self) -> usize {
        self.train.len()
    }

    /// Whether all steps of the epoch are done.
    pub fn epoch_done(&self) -> bool {
        self.position.step == self.steps_per_epoch()
    }

    /// Whether all epochs are done.
    pub fn finished(&self) -> bool {
        self.position.epoch > self.options.recipe.epochs
    }

    /// Time spent waiting for data since the epoch began.
    pub fn waited(&self) -> Duration {
        let current = self
            .batches
            .as_ref()
            .map_or(Duration::ZERO, Batches::waited);
        self.waited + current
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
            let key = EpochKey {
                seed: self.options.seed,
                epoch: self.position.epoch,
            };
            let key = self.options.recipe.augment.then_some(key);
            self.batches = Some(self.train.batches(self.chunks_left(), key));
        }
        let total = self.batch_at(self.position.step);
        self.write_step();
        let micro = self.options.micro_batch.is_some();
        if micro {
            self.engine.clear_tensors(&self.network, TensorKind::Sums);
        }
        let mut done = 0;
        while done < total {
            let batches = self.batches.as_mut().expect("made above");
            let batch = batches.next().expect("the order covers the epoch")?;
            let size = batch.indices.len();
            let graph = self.sizes.iter().position(|s| *s == size);
            self.train.write(&mut self.engine, &batch, size);
            let weight = 1.0 / total as f32;
            let weights = vec![weight.to_bits(); size];
            self.engine.write(names::LOSS_WEIGHTS, &weights);
            self.engine.run(graph.expect("every size has a graph"))?;
            self.position.batches_tracked += 1;
            done += size;
        }
        if micro {
            self.engine.run(self.sizes.len() + 1)?;
        }
        self.position.step += 1;
        Ok(total)
    }

    /// Reads the metrics that the device has gathered, waiting for the steps before.
    ///
    /// # Errors
    /// If the device fails, or a loss or gradient was NaN or infinite.
    pub async fn collect(&mut self) -> Result<Totals, TrainError> {
        let metrics = read_metrics(&self.engine).await?;
        if metrics.flags != 0 {
            return Err(self.diverged(&metrics).await);
        }
        self.position.metrics = metrics.to_words();
        Ok(self.position.totals())
    }

    /// Evaluates the test split with the present weights; `progress` hears the number of
    /// images done, and is waited for: who shares a thread with others lets them work.
    ///
    /// # Errors
    /// If data or device fail, or a score is NaN or infinite.
    pub async fn evaluate(
        &mut self,
        mut progress: impl AsyncFnMut(usize),
    ) -> Result<Totals, TrainError> {
        self.collect().await?;
        clear_metrics(&mut self.engine);
        let batch = self.sizes[0];
        let mut batches = self.test.batches(chunks(self.test.len(), batch), None);
        let mut done = 0;
        while let Some(next) = batches.next() {
            let next = next?;
            self.test.write(&mut self.engine, &next, batch);
            self.engine.run(self.sizes.len())?;
            done += next.indices.len();
            progress(done).await;
        }
        let metrics = read_metrics(&self.engine).await?;
        if metrics.flags != 0 {
            return Err(self.diverged(&metrics).await);
        }
        self.engine.write(names::METRICS, &self.position.metrics);
        Ok(Totals::from(&metrics))
    }

    /// Begins the next epoch.
    pub fn next_epoch(&mut self) {
        self.position.epoch += 1;
        self.position.step = 0;
        self.position.metrics = [0; METRIC_WORDS];
        clear_metrics(&mut self.engine);
        self.batches = None;
        self.waited = Duration::ZERO;
    }

    /// Images of a step.
    fn batch_at(&self, step: u32) -> usize {
        let batch = self.options.recipe.batch_size;
        (self.train.len() - step as usize * batch).min(batch)
    }

    /// Image numbers of all chunks that the epoch still has.
    fn chunks_left(&self) -> Vec<Vec<u32>> {
        let mut stream = Stream::new(self.options.seed, Purpose::Shuffle, self.position.epoch, 0);
        let order = stream.permutation(self.train.len());
        let batch = self.options.recipe.batch_size;
        let chunk = self.options.micro_batch.unwrap_or(batch);
        let left = order.chunks(batch).skip(self.position.step as usize);
        left.flat_map(|batch| batch.chunks(chunk).map(<[u32]>::to_vec))
            .collect()
    }

    fn write_step(&mut self) {
        let recipe = &self.options.recipe;
        let step = Step {
            seed: self.options.seed,
            epoch: self.position.epoch,
            learning_rate: recipe.learning_rate(self.position.epoch),
            momentum: recipe.momentum,
            weight_decay: recipe.weight_decay,
        };
        self.engine.write(names::STEP, &step.to_words());
    }

    /// Says where the numbers left the reals.
    async fn diverged(&self, metrics: &Metrics) -> TrainError {
        let mut what = match metrics.flags & Metrics::BAD_LOSS != 0 {
            true => "a loss is NaN or infinite".to_owned(),
            false => "a gradient is NaN or infinite".to_owned(),
        };
        if self.options.passes.precision == Precision::F16 {
            what += " (half precision ends at 65504, which --precision f32 does not)";
        }
        if let Ok(weights) = self
            .engine
            .read_tensors(&self.network, TensorKind::Weights)
            .await
        {
            let bad = |values: &[f32]| values.iter().any(|v| !v.is_finite());
            let names = self.network.parameters().into_iter().map(|p| p.name);
            let mut names = names.filter(|name| weights.get(name).is_some_and(|v| bad(v)));
            if let Some(first) = names.next() {
                what += &format!(", first in the tensor {first}");
            }
        }
        TrainError::Diverged {
            epoch: self.position.epoch,
            step: self.position.step,
            what,
        }
    }
}

/// Sizes of all chunks that occur in an epoch, the largest first.
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
