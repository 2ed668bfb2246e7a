//! What the options of a recipe write for each batch: transforms of images, rectangles that are
//! erased, partners with which images are mixed, and the labels of both.

use super::Recipe;
use super::erasing::erased;
use super::mixing::Mixing;
use crate::data::{Batch, EpochKey};
use crate::engine::{Engine, ValueHandle};
use crate::graph::ops::{Mixture, Rectangle, Target};
use crate::model::{BatchAugmentation, names};

/// The engine's values that automatic augmentation, random erasing, cutout and mixing write.
pub(super) struct AugmentationValues {
    /// First and second transforms, as many as there are.
    transforms: Vec<ValueHandle>,
    /// If there are any.
    rectangles: Option<ValueHandle>,
    /// With mixing.
    mixtures: Option<ValueHandle>,
    labels: ValueHandle,
}

impl AugmentationValues {
    /// `batch` is the number of images of the largest batch.
    pub(super) fn new(
        augmentation: &BatchAugmentation,
        batch: usize,
        engine: &mut Engine,
    ) -> AugmentationValues {
        let transforms = &names::TRANSFORMS[..augmentation.transforms];
        if !transforms.is_empty() {
            let positions: Vec<u32> = (0..batch as u32).collect();
            engine.write(engine.value(names::POSITIONS), &positions);
        }
        let value = |name, exists: bool| exists.then(|| engine.value(name));
        AugmentationValues {
            transforms: transforms.iter().map(|name| engine.value(name)).collect(),
            rectangles: value(names::RECTANGLES, augmentation.rectangles > 0),
            mixtures: value(names::MIXTURES, augmentation.mix),
            labels: engine.value(names::LABELS),
        }
    }

    /// Writes how the images of a batch, of `size` x `size`, are transformed, what is erased from
    /// them, and what they are mixed with. `number` counts the batches, or micro-batches, of the
    /// epoch from 0.
    pub(super) fn write(
        &self,
        engine: &mut Engine,
        recipe: &Recipe,
        size: u32,
        key: EpochKey,
        batch: &Batch,
        number: u32,
    ) {
        let transforms = recipe.auto_augment.words(key, &batch.indices, size);
        for (value, words) in self.transforms.iter().zip(transforms) {
            engine.write(*value, &words);
        }
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
