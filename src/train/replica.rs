//! Copies of the network on devices: all that a training step writes, runs and reads there.
//!
//! A trainer with several devices has a replica on each (data parallelism). A batch is divided into
//! shares, one for each replica; every replica adds up the gradients of its share, the host adds the
//! sums in the order of the replicas, and every replica applies the result. So all replicas keep the
//! same weights and optimiser state. Where devices differ, their updates may round differently, and
//! the first replica's parameters replace those of the others.
//!
//! Batch norm uses the statistics of the share, or of the micro-batches that it is divided into, and
//! the running statistics of a run are those of the first replica, as in the authors' code
//! (`nn.DataParallelTable` of Torch7, `DataParallel` of PyTorch).

use super::TrainError;
use super::augmentation::AugmentationValues;
use super::evaluate::read_metrics;
use super::input_pipeline::{BatchValues, InputPipeline};
use super::recipe::Recipe;
use crate::data::{Batch, EpochKey};
use crate::engine::{Engine, ValueHandle};
use crate::graph::Arena;
use crate::graph::ops::{METRIC_WORDS, Metrics};
use crate::model::names;

/// A network on a device.
pub(super) struct Replica {
    pub(super) engine: Engine,
    pub(super) values: Values,
}

/// The values that a step writes and reads.
pub(super) struct Values {
    train: BatchValues,
    augmentation: AugmentationValues,
    loss_weights: ValueHandle,
    pub(super) step: ValueHandle,
    pub(super) metrics: ValueHandle,
    /// With half-precision activations.
    pub(super) loss_scale: Option<ValueHandle>,
}

/// What the micro-batches of a step have in common.
#[derive(Clone, Copy)]
pub(super) struct StepContext<'a> {
    pub(super) train: &'a InputPipeline,
    pub(super) recipe: &'a Recipe,
    /// Side of the network's images.
    pub(super) image_size: u32,
    pub(super) key: EpochKey,
    /// Sizes of the micro-batches, by the index of their graph.
    pub(super) sizes: &'a [usize],
    /// Images of the step, on all replicas.
    pub(super) total: usize,
}

impl Replica {
    /// Uploads the training split if it stays on the device. `largest` is the size of the largest
    /// micro-batch.
    pub(super) fn new(
        mut engine: Engine,
        train: &InputPipeline,
        recipe: &Recipe,
        largest: usize,
        is_half: bool,
    ) -> Replica {
        let values = Values {
            train: train.upload(&mut engine),
            augmentation: AugmentationValues::new(&recipe.augmentation(), largest, &mut engine),
            loss_weights: engine.value(names::LOSS_WEIGHTS),
            step: engine.value(names::STEP),
            metrics: engine.value(names::METRICS),
            loss_scale: is_half.then(|| engine.value(names::LOSS_SCALE)),
        };
        Replica { engine, values }
    }

    /// Submits a micro-batch, or batch; `number` counts those of the epoch from 0.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn run(
        &mut self,
        context: &StepContext<'_>,
        batch: &Batch,
        number: u32,
    ) -> Result<(), TrainError> {
        let size = batch.indices.len();
        let graph = context.sizes.iter().position(|other| *other == size);
        let Replica { engine, values } = self;
        context.train.write(engine, &values.train, batch, size);
        let StepContext {
            recipe,
            image_size,
            key,
            ..
        } = *context;
        let augmentation = &values.augmentation;
        augmentation.write(engine, recipe, image_size, key, batch, number);
        let weight = 1.0 / context.total as f32;
        let weights = vec![weight.to_bits(); size];
        engine.write(values.loss_weights, &weights);
        Ok(engine.run(graph.expect("every size has a graph"))?)
    }
}

/// The replicas of a trainer, of which there is at least one.
pub(super) struct Replicas {
    all: Vec<Replica>,
    /// Whether all devices compute the same bits.
    are_equal: bool,
}

impl Replicas {
    pub(super) fn new(all: Vec<Replica>) -> Replicas {
        let kind = |replica: &Replica| {
            let engine = &replica.engine;
            (engine.device().name(), engine.choices().clone())
        };
        let are_equal = all.windows(2).all(|pair| kind(&pair[0]) == kind(&pair[1]));
        Replicas { all, are_equal }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The replica that evaluates, and whose running statistics are those of the run.
    pub(super) fn first(&self) -> &Replica {
        &self.all[0]
    }

    pub(super) fn first_mut(&mut self) -> &mut Replica {
        &mut self.all[0]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replica> {
        self.all.iter_mut()
    }

    /// Submits the micro-batches of a step, whose number by replica is `counts`; `next` returns them
    /// one after another, and `first` is the number of the first one.
    ///
    /// # Errors
    /// If data or a device fail.
    pub(super) fn run(
        &mut self,
        context: &StepContext<'_>,
        counts: &[usize],
        mut first: u32,
        mut next: impl FnMut() -> Result<Batch, TrainError>,
    ) -> Result<(), TrainError> {
        if let [only] = &mut self.all[..] {
            for number in (first..).take(counts[0]) {
                only.run(context, &next()?, number)?;
            }
            return Ok(());
        }
        let mut work = Vec::new();
        for count in counts {
            let batches = (first..).take(*count);
            let batches = batches.map(|number| Ok((number, next()?)));
            work.push(batches.collect::<Result<Vec<_>, TrainError>>()?);
            first += *count as u32;
        }
        on_each(&mut self.all, |replica_number, replica| {
            let mut batches = work[replica_number].iter();
            batches.try_for_each(|(number, batch)| replica.run(context, batch, *number))
        })
    }

    /// Adds the sums of gradients in the order of the replicas, and writes the result to each.
    ///
    /// # Errors
    /// If a device fails.
    pub(super) async fn all_reduce(&mut self) -> Result<(), TrainError> {
        let mut total = self.first().engine.read_arena(Arena::Sums).await?;
        for other in &self.all[1..] {
            let sums = other.engine.read_arena(Arena::Sums).await?;
            for (total, sum) in total.iter_mut().zip(sums) {
                *total += sum;
            }
        }
        for replica in &mut self.all {
            replica.engine.write_arena(Arena::Sums, &total);
        }
        Ok(())
    }

    /// Submits the update; then all replicas have the same parameters.
    ///
    /// # Errors
    /// If a device fails.
    pub(super) async fn update(&mut self, graph: usize) -> Result<(), TrainError> {
        on_each(&mut self.all, |_, replica| Ok(replica.engine.run(graph)?))?;
        if !self.are_equal {
            let parameters = self.first().engine.read_arena(Arena::Parameters).await?;
            for other in &mut self.all[1..] {
                other.engine.write_arena(Arena::Parameters, &parameters);
            }
        }
        Ok(())
    }

    /// Moves the counts of a step from the devices to the metrics of the epoch, so that these do not
    /// depend on when they are read. Returns the number and the metrics of the first replica that has
    /// found a NaN or infinity, if one has.
    ///
    /// # Errors
    /// If a device fails.
    pub(super) async fn take_counts(
        &mut self,
        epoch: &mut [u32; METRIC_WORDS],
    ) -> Result<Option<(usize, Metrics)>, TrainError> {
        let mut sum = Metrics::from_words(epoch);
        for (number, Replica { engine, values }) in self.all.iter_mut().enumerate() {
            let metrics = read_metrics(engine, values.metrics).await?;
            sum.loss += metrics.loss;
            // As on one device, the sum of an epoch may overflow too.
            if metrics.diverged() || sum.diverged() {
                return Ok(Some((number, metrics)));
            }
            sum.top1 += metrics.top1;
            sum.top5 += metrics.top5;
            sum.images += metrics.images;
            engine.clear(values.metrics);
        }
        *epoch = sum.to_words();
        Ok(None)
    }

    /// The number and the metrics of the first replica that has found a NaN or infinity; else those
    /// of the first replica.
    ///
    /// # Errors
    /// If a device fails.
    pub(super) async fn metrics(&self) -> Result<(usize, Metrics), TrainError> {
        let mut first = None;
        for (number, Replica { engine, values }) in self.all.iter().enumerate() {
            let metrics = read_metrics(engine, values.metrics).await?;
            if metrics.diverged() {
                return Ok((number, metrics));
            }
            first = first.or(Some((number, metrics)));
        }
        Ok(first.expect("there is a replica"))
    }
}

/// Calls a function with every replica and its number; with several, each in a thread of its own,
/// because a run on the CPU returns only when it has ended.
///
/// # Errors
/// Those of the function, and if a thread cannot be started.
#[cfg(not(target_arch = "wasm32"))]
fn on_each(
    replicas: &mut [Replica],
    work: impl Fn(usize, &mut Replica) -> Result<(), TrainError> + Sync,
) -> Result<(), TrainError> {
    use std::thread::{Builder, scope};

    let [first, others @ ..] = replicas else {
        return Ok(());
    };
    scope(|scope| {
        let mut threads = Vec::new();
        for (number, replica) in (1..).zip(others) {
            let work = &work;
            let thread = Builder::new().name(format!("replica {number}"));
            let spawned = thread.spawn_scoped(scope, move || work(number, replica));
            threads.push(spawned.map_err(TrainError::Thread)?);
        }
        let mut result = work(0, first);
        for thread in threads {
            let ended = thread.join();
            result = result.and(ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        result
    })
}

/// Calls a function with every replica and its number.
///
/// # Errors
/// Those of the function.
#[cfg(target_arch = "wasm32")]
fn on_each(
    replicas: &mut [Replica],
    work: impl Fn(usize, &mut Replica) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let mut replicas = replicas.iter_mut().enumerate();
    replicas.try_for_each(|(number, replica)| work(number, replica))
}
