//! A replica of the network on a device: all that a training step writes, runs and reads there.

use super::TrainError;
use super::augmentation::AugmentationValues;
use super::evaluate::{EvaluationPass, EvaluationValues};
use super::input_pipeline::{BatchValues, InputPipeline};
use super::recipe::Recipe;
use super::shares::MicroBatch;
use crate::data::{Batch, EpochKey};
use crate::engine::{Engine, ValueHandle};
use crate::model::names;

/// A network on a device.
pub(super) struct Replica {
    pub(super) engine: Engine,
    pub(super) values: Values,
    pub(super) evaluation: EvaluationValues,
    /// Of the test images that are its share, while an evaluation is in progress.
    pub(super) pass: Option<EvaluationPass>,
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
        }
    }

    /// Submits a micro-batch, or batch.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn run(&mut self, context: &StepContext<'_>, work: &Work) -> Result<(), TrainError> {
        self.write(context, work);
        Ok(self.engine.run(context.graph(work.part))?)
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
