//! What the options of a recipe write for each batch: rectangles that are erased, partners with which
//! images are mixed, and the labels of both.

use super::Recipe;
use super::erasing::erased;
use super::mixing::Mixing;
use crate::data::{Batch, EpochKey};
use crate::engine::{Engine, ValueHandle};
use crate::graph::ops::{Mixture, Rectangle, Target};
use crate::model::{BatchAugmentation, names};

/// The engine's values that random erasing, cutout and mixing write.
pub(super) struct AugmentationValues {
    /// If there are any.
    rectangles: Option<ValueHandle>,
    /// With mixing.
    mixtures: Option<ValueHandle>,
    labels: ValueHandle,
}

impl AugmentationValues {
    pub(super) fn new(augmentation: &BatchAugmentation, engine: &Engine) -> AugmentationValues {
        let value = |name, exists: bool| exists.then(|| engine.value(name));
        AugmentationValues {
            rectangles: value(names::RECTANGLES, augmentation.rectangles > 0),
            mixtures: value(names::MIXTURES, augmentation.mix),
            labels: engine.value(names::LABELS),
        }
    }

    /// Writes what is erased from the images of a batch, of `size` x `size`, and what they are mixed
    /// with. `number` counts the batches, or micro-batches, of the epoch from 0.
    pub(super) fn write(
        &self,
        engine: &mut Engine,
        recipe: &Recipe,
        size: u32,
        key: EpochKey,
        batch: &Batch,
        number: u32,
    ) {
        if let Some(value) = self.rectangles {
            let samples = batch.indices.iter();
            let rectangles = samples.flat_map(|sample| erased(recipe, key, *sample, size));
            let words: Vec<u32> = rectangles.flat_map(Rectangle::to_words).collect();
            engine.write(value, &words);
        }
        let mixing = Mixing::draw(recipe, key, number, batch.indices.len(), size);
        if let (Some(value), Some(mixing)) = (self.mixtures, mixing) {
            let words: Vec<u32> = mixing.mixtures().flat_map(Mixture::to_words).collect();
            engine.write(value, &words);
            let targets = Target::to_words(&mixing.targets(&batch.labels));
            engine.write(self.labels, &targets);
        }
    }
}
