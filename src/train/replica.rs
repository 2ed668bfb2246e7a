//! A replica of the network on a device: all that a training step writes, runs and reads there.

use std::ops::Range;

use super::TrainError;
use super::augmentation::AugmentationValues;
use super::evaluate::{EvaluationPass, EvaluationValues};
use super::input_pipeline::{BatchValues, InputPipeline};
use super::recipe::Recipe;
use super::shares::MicroBatch;
use crate::data::{Batch, EpochKey};
use crate::engine::{Engine, PartEnd, Reader, ValueHandle};
use crate::graph::Arena;
use crate::graph::lasting::ARENA_ALIGNMENT;
use crate::model::names;

/// A network on a device.
pub(super) struct Replica {
    pub(super) engine: Engine,
    pub(super) values: Values,
    pub(super) evaluation: EvaluationValues,
    /// Of the test images that are its share, while an evaluation is in progress.
    pub(super) pass: Option<EvaluationPass>,
    /// With several replicas, what reads its sums of gradients, in the order in which they are complete.
    pub(super) sums: Vec<SumsReader>,
}

/// Reads some of the sums of gradients.
pub(super) struct SumsReader {
    /// Which numbers of their arena.
    pub(super) range: Range<usize>,
    pub(super) reader: Reader,
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
    /// The kinds of micro-batches, by the index of their graph.
    pub(super) kinds: &'a [MicroBatch],
    /// Images of the step, on all replicas.
    pub(super) total: usize,
}

impl StepContext<'_> {
    /// The index of the graph of a micro-batch.
    pub(super) fn graph(&self, part: MicroBatch) -> usize {
        let graph = self.kinds.iter().position(|kind| *kind == part);
        graph.expect("every kind has a graph")
    }
}

impl Replica {
    /// Uploads the splits that stay on the device. `largest` is the size of the largest micro-batch.
    pub(super) fn new(
        mut engine: Engine,
        [train, test]: [&InputPipeline; 2],
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
        Replica {
            evaluation: EvaluationValues::new(test, &mut engine),
            engine,
            values,
            pass: None,
            sums: Vec::new(),
        }
    }

    /// Prepares reading the sums of gradients of the training graphs.
    ///
    /// # Errors
    /// If there is not as much memory for their copy.
    ///
    /// # Panics
    /// If a gradient is not among them, which is a bug.
    pub(super) fn prepare_sums(&mut self) -> Result<(), TrainError> {
        for end in self.engine.part_ends(0) {
            if let PartEnd::Sums(range) = end {
                self.sums.push(SumsReader {
                    range: range.clone(),
                    reader: self.engine.arena_reader(Arena::Sums, range.clone())?,
                });
            }
        }
        let mut ranges: Vec<&Range<usize>> = self.sums.iter().map(|sums| &sums.range).collect();
        ranges.sort_by_key(|range| range.start);
        let mut end = 0;
        for range in ranges {
            assert_eq!(range.start, end, "gradients between two buckets");
            end = range.end.next_multiple_of(ARENA_ALIGNMENT as usize / 4);
        }
        assert_eq!(
            end,
            self.engine.arena_len(Arena::Sums),
            "gradients at the end"
        );
        Ok(())
    }

    /// Submits a micro-batch, or batch. After the step's last one the sums of gradients are complete.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn run(
        &mut self,
        context: &StepContext<'_>,
        work: &Work,
        is_last: bool,
    ) -> Result<(), TrainError> {
        self.write(context, work);
        let graph = context.graph(work.part);
        if !is_last || self.sums.is_empty() {
            return Ok(self.engine.run(graph)?);
        }
        let mut parts = 0..self.engine.part_ends(graph).len();
        parts.try_for_each(|part| self.run_part(graph, part, is_last))
    }

    /// Submits a part of a micro-batch. The sums of gradients that it completes in the step's last one
    /// leave the device while the following parts run.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn run_part(
        &mut self,
        graph: usize,
        part: usize,
        is_last: bool,
    ) -> Result<(), TrainError> {
        let Replica { engine, sums, .. } = self;
        engine.run_part(graph, part)?;
        if let (PartEnd::Sums(complete), true) = (&engine.part_ends(graph)[part], is_last) {
            let mut sums = sums.iter_mut();
            let complete = sums.find(|sums| sums.range == *complete);
            engine.start_reading(&mut complete.expect("all graphs have these").reader);
        }
        Ok(())
    }

    /// Starts reading the sums of gradients in a step without images for this replica.
    pub(super) fn read_sums(&mut self) {
        for SumsReader { reader, .. } in &mut self.sums {
            self.engine.start_reading(reader);
        }
    }

    /// Writes what the graph of a micro-batch reads.
    pub(super) fn write(&mut self, context: &StepContext<'_>, work: &Work) {
        let Work {
            part,
            batch,
            number,
        } = work;
        let size = part.images;
        assert_eq!(size, batch.indices.len(), "images of a micro-batch");
        let Replica { engine, values, .. } = self;
        context.train.write(engine, &values.train, batch, size);
        let StepContext {
            recipe,
            image_size,
            key,
            ..
        } = *context;
        let augmentation = &values.augmentation;
        augmentation.write(engine, recipe, image_size, key, batch, *number);
        let weight = 1.0 / context.total as f32;
        let weights = vec![weight.to_bits(); size];
        engine.write(values.loss_weights, &weights);
    }
}

/// A micro-batch, or batch, for a replica.
pub(super) struct Work {
    pub(super) part: MicroBatch,
    pub(super) batch: Batch,
    /// Its number in the epoch, from 0.
    pub(super) number: u32,
}
