//! The replicas of the network on all devices of a run.
//!
//! A trainer with several devices has a replica on each (data parallelism), and the trainers of
//! several [`Ranks`] number their replicas one after another. A batch is divided into shares, one for
//! each replica; every replica adds up the gradients of its share, the hosts add the sums in the order
//! of the replicas, first their own and then those of the ranks, and every replica applies the result.
//! Sums that are complete leave a GPU while its backward pass computes the others.
//! So all replicas keep the same weights and optimiser state. Where devices differ, their updates may
//! round differently, and the first replica's parameters replace those of the others.
//!
//! Batch norm uses the statistics of the share, or of the micro-batches that it is divided into, and
//! the running statistics of a run are those of the first replica, as in the authors' code
//! (`nn.DataParallelTable` of Torch7, `DataParallel` of PyTorch). Synchronised batch norm
//! ([`crate::graph::sync_batch_norm`]) uses those of all replicas' shares, or of their micro-batches of
//! the same number: then a run pauses at each batch norm, and the hosts reduce the statistics.

mod statistics;

use super::TrainError;
use super::evaluate::{EvaluationPass, read_metrics};
use super::input_pipeline::InputPipeline;
use super::replica::{Replica, StepContext, Work};
use super::shares::MicroBatch;
use crate::data::Batch;
use crate::engine::Reader;
use crate::graph::ops::{METRIC_WORDS, Metrics};
use crate::graph::{Arena, Precision};
use crate::ranks::{self, Encoding, Ranks, WORDS};

/// The replicas of a trainer, of which there is at least one.
pub(super) struct Replicas {
    all: Vec<Replica>,
    /// Some of the sums of gradients of all replicas.
    sums: Vec<f32>,
    /// With synchronised batch norm, what reads the replicas' statistics.
    statistics_readers: Vec<Reader>,
    /// Statistics of the replicas, one after another.
    statistics: Vec<f32>,
    ranks: Option<Ranks>,
    /// How ranks send each other sums of gradients.
    encoding: Encoding,
    /// Number of the first one among the replicas of all ranks.
    first: usize,
    /// Replicas of all ranks.
    total: usize,
    /// Whether all devices compute the same bits.
    are_equal: bool,
    /// Whether a stop was asked for, on this rank.
    stop_asked: bool,
    /// Whether the ranks have agreed to stop.
    stop_agreed: bool,
}

impl Replicas {
    /// # Errors
    /// If another rank has failed, or there is not as much memory of the host.
    pub(super) fn new(
        mut all: Vec<Replica>,
        ranks: Option<&Ranks>,
        gradients: Precision,
    ) -> Result<Replicas, TrainError> {
        let kind = |replica: &Replica| {
            let engine = &replica.engine;
            let choices = serde_json::to_string(engine.choices());
            (engine.device().name(), choices.expect("plain data"))
        };
        let kinds: Vec<(String, String)> = all.iter().map(kind).collect();
        let mut are_equal = kinds.windows(2).all(|pair| pair[0] == pair[1]);
        let mut placement = (0..all.len(), all.len());
        if let Some(ranks) = ranks {
            let own = serde_json::to_vec(&kinds[0]).expect("plain data");
            let firsts = ranks.all_gather(&own)?;
            are_equal &= firsts.windows(2).all(|pair| pair[0] == pair[1]);
            let equal = ranks.agree(&[are_equal.into()])?;
            are_equal = equal.iter().all(|words| words[0] == 1);
            placement = ranks.placement();
        }
        let (own, total) = placement;
        let mut statistics_readers = Vec::new();
        if total > 1 {
            for replica in &mut all {
                replica.prepare_sums()?;
                statistics_readers.extend(replica.engine.statistics_reader()?);
            }
        }
        Ok(Replicas {
            all,
            sums: Vec::new(),
            statistics_readers,
            statistics: Vec::new(),
            ranks: ranks.cloned(),
            encoding: match gradients {
                Precision::F32 => Encoding::Single,
                Precision::F16 => Encoding::Half,
            },
            first: own.start,
            total,
            are_equal,
            stop_asked: false,
            stop_agreed: false,
        })
    }

    /// Number of replicas of all ranks.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The numbers of this trainer's replicas.
    pub(super) fn numbers(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.all.len()
    }

    /// The first replica of this trainer. On rank 0 the running statistics of the run are its own.
    pub(super) fn first(&self) -> &Replica {
        &self.all[0]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replica> {
        self.all.iter_mut()
    }

    /// Asks to stop: the ranks agree on it in the next step or evaluation.
    pub(super) fn ask_to_stop(&mut self) {
        self.stop_asked = true;
    }

    /// Whether to stop: on all ranks after the same step.
    pub(super) fn stops(&self) -> bool {
        match self.ranks.is_some() && self.total > 1 {
            true => self.stop_agreed,
            false => self.stop_asked,
        }
    }

    /// Submits the micro-batches of a step, which are `divided` among the replicas of all ranks; `next`
    /// returns the images of this trainer's one after another, and `first` is the number of the step's
    /// first one. With synchronised batch norm, waits for the statistics.
    ///
    /// # Errors
    /// If data, a device or another rank fail.
    pub(super) async fn run(
        &mut self,
        context: &StepContext<'_>,
        divided: &[Vec<MicroBatch>],
        first: u32,
        mut next: impl FnMut() -> Result<Batch, TrainError>,
    ) -> Result<(), TrainError> {
        let before = divided[..self.first].iter().map(Vec::len).sum::<usize>();
        let mut numbers = first + before as u32..;
        let own = &divided[self.numbers()];
        let mut work_of = |part: &MicroBatch| -> Result<Work, TrainError> {
            Ok(Work {
                part: *part,
                batch: next()?,
                number: numbers.next().expect("endless"),
            })
        };
        let is_synchronized = !self.statistics_readers.is_empty();
        if let ([only], false) = (&mut self.all[..], is_synchronized) {
            if own[0].is_empty() {
                only.read_sums();
            }
            for (index, part) in own[0].iter().enumerate() {
                only.run(context, &work_of(part)?, index + 1 == own[0].len())?;
            }
            return Ok(());
        }
        let mut work: Vec<Vec<Work>> = Vec::new();
        for parts in own {
            work.push(parts.iter().map(&mut work_of).collect::<Result<_, _>>()?);
        }
        let without = self.all.iter_mut().zip(&work);
        for (replica, _) in without.filter(|(_, work)| work.is_empty()) {
            replica.read_sums();
        }
        if is_synchronized {
            let rounds = divided.iter().map(Vec::len).max().unwrap_or(0);
            for round in 0..rounds {
                let all = work.iter();
                let work = all.map(|work| Some((work.get(round)?, round + 1 == work.len())));
                let work: Vec<Option<(&Work, bool)>> = work.collect();
                let images =
                    |parts: &Vec<MicroBatch>| parts.get(round).map_or(0, |part| part.images);
                let images: Vec<usize> = divided.iter().map(images).collect();
                self.run_synchronized(context, &work, &images).await?;
            }
            return Ok(());
        }
        on_each(&mut self.all, |number, replica| {
            let all = &work[number];
            let mut work = all.iter().enumerate();
            work.try_for_each(|(index, work)| replica.run(context, work, index + 1 == all.len()))
        })
    }

    /// Adds the sums of gradients in the order of the replicas and ranks, and writes the result to each
    /// replica; moves the counts of the step from the devices to the metrics of the epoch, so that these
    /// do not depend on when they are read. Returns the number and the metrics of this trainer's first
    /// replica that has found a NaN or infinity, if one has.
    ///
    /// # Errors
    /// If a device or another rank fails.
    pub(super) async fn all_reduce(
        &mut self,
        epoch: &mut [u32; METRIC_WORDS],
    ) -> Result<Option<(usize, Metrics)>, TrainError> {
        for bucket in 0..self.first().sums.len() {
            self.all_reduce_sums(bucket).await?;
        }
        let mut counts = Vec::new();
        for (number, Replica { engine, values, .. }) in self.all.iter_mut().enumerate() {
            let metrics = read_metrics(engine, values.metrics).await?;
            if metrics.diverged() {
                return Ok(Some((number, metrics)));
            }
            engine.clear(values.metrics);
            counts.push(metrics);
        }
        let step = self.agree_on(counts)?;
        let sum = add(Metrics::from_words(epoch), step);
        // As on one device, the sum of an epoch may overflow.
        if sum.diverged() {
            return Ok(Some((0, sum)));
        }
        *epoch = sum.to_words();
        Ok(None)
    }

    /// Adds some of the sums of gradients over all replicas and ranks, as soon as they have left the
    /// devices, of which GPUs may still compute others.
    async fn all_reduce_sums(&mut self, bucket: usize) -> Result<(), TrainError> {
        let total = &mut self.sums;
        for (number, Replica { engine, sums, .. }) in self.all.iter_mut().enumerate() {
            let take = |own: &[f32]| match number {
                0 => {
                    total.clear();
                    total.extend_from_slice(own);
                }
                _ => ranks::add(total, own),
            };
            engine
                .finish_reading(&mut sums[bucket].reader, take)
                .await?;
        }
        if let Some(ranks) = &self.ranks {
            ranks.agree(&[])?;
            ranks.all_reduce(total, self.encoding);
        }
        for Replica { engine, sums, .. } in &mut self.all {
            let first = sums[bucket].range.start;
            engine.write_arena_part(Arena::Sums, first, total);
        }
        Ok(())
    }

    /// An agreement of all ranks on the counts of their replicas, and on whether to stop; returns the
    /// sum of the counts.
    fn agree_on(&mut self, counts: Vec<Metrics>) -> Result<Metrics, TrainError> {
        let sum = |counts: &mut dyn Iterator<Item = Metrics>| {
            let sum = counts.reduce(add);
            sum.expect("there is a replica")
        };
        let own = sum(&mut counts.into_iter());
        let Some(ranks) = &self.ranks else {
            return Ok(own);
        };
        let mut words = [0; WORDS];
        words[0] = self.stop_asked.into();
        words[1..=METRIC_WORDS].copy_from_slice(&own.to_words());
        let all = ranks.agree(&words)?;
        self.stop_agreed = all.iter().any(|words| words[0] != 0);
        let mut counts = all
            .iter()
            .map(|words| Metrics::from_words(&words[1..=METRIC_WORDS]));
        Ok(sum(&mut counts))
    }

    /// Submits the update; then all replicas have the same parameters.
    ///
    /// # Errors
    /// If a device or another rank fails.
    pub(super) async fn update(&mut self, graph: usize) -> Result<(), TrainError> {
        on_each(&mut self.all, |_, replica| Ok(replica.engine.run(graph)?))?;
        match self.are_equal {
            true => Ok(()),
            false => self.copy_first(Arena::Parameters).await,
        }
    }

    /// Gives all replicas, on all ranks, the numbers that the first one has in an arena.
    ///
    /// # Errors
    /// If a device or another rank fails.
    async fn copy_first(&mut self, arena: Arena) -> Result<(), TrainError> {
        if self.total == 1 {
            return Ok(());
        }
        let mut numbers = self.first().engine.read_arena(arena).await?;
        if let Some(ranks) = &self.ranks {
            ranks.agree(&[])?;
            ranks.broadcast_numbers(&mut numbers);
        }
        let own = usize::from(self.first == 0);
        for other in &mut self.all[own..] {
            other.engine.write_arena(arena, &numbers);
        }
        Ok(())
    }

    /// The number and the metrics of the first replica that has found a NaN or infinity; else those
    /// of the first replica.
    ///
    /// # Errors
    /// If a device fails.
    pub(super) async fn metrics(&self) -> Result<(usize, Metrics), TrainError> {
        let mut first = None;
        for (number, Replica { engine, values, .. }) in self.all.iter().enumerate() {
            let metrics = read_metrics(engine, values.metrics).await?;
            if metrics.diverged() {
                return Ok((number, metrics));
            }
            first = first.or(Some((number, metrics)));
        }
        Ok(first.expect("there is a replica"))
    }

    /// Begins an evaluation, in which all replicas have the first one's running statistics, and each
    /// evaluates a share of the batches of `size` images. `graph` is the index of the evaluation's.
    ///
    /// # Errors
    /// If a device or another rank fails.
    pub(super) async fn begin_evaluation(
        &mut self,
        test: &InputPipeline,
        graph: usize,
        size: usize,
    ) -> Result<(), TrainError> {
        for arena in [Arena::Statistics, Arena::Averages] {
            self.copy_first(arena).await?;
        }
        let total = self.total;
        for (number, replica) in (self.first..).zip(&mut self.all) {
            let (engine, values) = (&mut replica.engine, &replica.evaluation);
            let share = (number, total);
            let pass = EvaluationPass::begin(engine, test, values, graph, size, share);
            replica.pass = Some(pass);
        }
        Ok(())
    }

    /// Evaluates the next batch of each replica.
    ///
    /// # Errors
    /// If data or a device fail.
    pub(super) fn evaluate(&mut self, test: &InputPipeline) -> Result<(), TrainError> {
        on_each(&mut self.all, |_, replica| {
            let Replica {
                engine,
                evaluation,
                pass,
                ..
            } = replica;
            let pass = pass.as_mut().expect("an evaluation is in progress");
            pass.submit(engine, test, evaluation)?;
            Ok(())
        })
    }

    /// Ends the evaluation: the metrics of all test images.
    ///
    /// # Errors
    /// If a logit was NaN or infinite; if a device or another rank fails.
    pub(super) async fn end_evaluation(&mut self) -> Result<Metrics, TrainError> {
        let mut counts = Vec::new();
        for replica in &mut self.all {
            replica.pass = None;
            let metrics = read_metrics(&replica.engine, replica.values.metrics).await?;
            if metrics.diverged() {
                return Err(TrainError::Scores);
            }
            counts.push(metrics);
        }
        self.agree_on(counts)
    }
}

/// The sums of two counts, neither of which has a NaN or infinity.
fn add(first: Metrics, second: Metrics) -> Metrics {
    Metrics {
        loss: first.loss + second.loss,
        top1: first.top1 + second.top1,
        top5: first.top5 + second.top5,
        images: first.images + second.images,
        ..first
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
