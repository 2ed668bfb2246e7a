//! Converts images to a normalised f32 batch, with the paper's CIFAR augmentation.
//!
//! The order is that of the Torch recipe: normalise, flip left-right with probability one half,
//! pad the *normalised* image with zeros (the mean colour), crop at a uniform offset.
//! The random numbers depend only on (seed, epoch, sample), not on the batch size or the
//! position in the batch.

use serde::{Deserialize, Serialize};

use super::super::Tensor;
use super::super::step::{STEP_WORDS, Step};
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::rng::{self, Purpose, philox4x32};
use crate::shape::{DType, PixelFormat, Shape};

/// (images, rows, samples, step) → batch [N, size, size, 3].
///
/// `images` is u32 [M, words]: each row is one image, H W RGB, as bytes, four to a little-endian
/// word, or as the bits of one f32 to a word. `rows` u32 `[N]` is the row of `images` of each batch
/// entry. `samples` u32 `[N]` is the index of each image in its dataset, which keys its random
/// numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct AssembleBatch {
    /// Height and width of an image in pixels.
    pub size: usize,
    /// Format of the operand `images`.
    pub pixels: PixelFormat,
    /// Zero pixels on each side before cropping; 0 without `flip` means no augmentation.
    pub padding: usize,
    /// Whether to flip at random.
    pub flip: bool,
    /// Order of the channels of the batch.
    pub order: ChannelOrder,
    /// Mean of red, green and blue, in 0..=255.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, in the same unit.
    pub std: [f32; 3],
}

/// Order of the channels that a network takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red, as Caffe's networks take.
    Bgr,
}

impl ChannelOrder {
    /// The colour of each channel: 0 for red, 1 for green, 2 for blue.
    pub fn colours(self) -> [usize; 3] {
        match self {
            ChannelOrder::Rgb => [0, 1, 2],
            ChannelOrder::Bgr => [2, 1, 0],
        }
    }

    /// Whether it is the default.
    pub fn is_rgb(&self) -> bool {
        *self == ChannelOrder::Rgb
    }
}

impl AssembleBatch {
    /// Number of words of one image.
    pub fn image_words(size: usize, pixels: PixelFormat) -> usize {
        pixels.image_bytes(size).div_ceil(4)
    }

    /// Packs the bytes of `count` consecutive images into the words of the operand `images`.
    pub fn pack_images(bytes: &[u8], count: usize) -> Vec<u32> {
        let image = bytes.len() / count.max(1);
        if image.is_multiple_of(4) {
            let words = bytes.as_chunks().0.iter();
            return words.map(|word| u32::from_le_bytes(*word)).collect();
        }
        let words = |image: &[u8]| -> Vec<u32> {
            let words = image.chunks(4).map(|four| {
                let mut word = [0; 4];
                word[..four.len()].copy_from_slice(four);
                u32::from_le_bytes(word)
            });
            words.collect()
        };
        bytes.chunks(image).flat_map(words).collect()
    }

    /// Row offset, column offset (0..=2·padding) and flip of a sample.
    pub fn augmentation(&self, step: Step, sample: u32) -> (usize, usize, bool) {
        let counter = [0, sample, step.epoch, Purpose::Augment as u32];
        let key = rng::key(step.seed);
        let words = philox4x32(counter, key);
        let offset = |word: u32| ((word >> 16) as usize * (2 * self.padding + 1)) >> 16;
        (
            offset(words[0]),
            offset(words[1]),
            self.flip && words[2] & 1 == 1,
        )
    }
}

inputs! {
    /// Operands of [`AssembleBatch`].
    AssembleBatchInputs of AssembleBatch {
        /// The images, u32 [M, words].
        images,
        /// Row of `images` of each batch entry, u32 `[N]`.
        rows,
        /// Index of each image in its dataset, u32 `[N]`.
        samples,
        /// Seed and epoch.
        step,
    }
}

impl Operator for AssembleBatch {
    const NAME: &'static str = "assemble_batch";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let AssembleBatchInputs {
            images,
            rows,
            samples,
            step,
        } = self.try_inputs(inputs)?;
        let words = AssembleBatch::image_words(self.size, self.pixels);
        require(
            images.dims.len() == 2 && images.last() == words && images.dtype == DType::U32,
            || format!("images must be u32 [M, {words}]"),
        )?;
        require(rows == samples && rows.dims.len() == 1, || {
            "rows and samples must be u32 [N]".to_owned()
        })?;
        require(step.len() == STEP_WORDS, || {
            "the last operand must be the step tensor".to_owned()
        })?;
        Ok(vec![Shape::channels(&[
            rows.len(),
            self.size,
            self.size,
            3,
        ])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let [images, rows, samples] =
            [named.images, named.rows, named.samples].map(Tensor::indices);
        let step = Step::from_words(named.step.indices());
        let (size, padding) = (self.size, self.padding);
        let words = AssembleBatch::image_words(size, self.pixels);
        let mut batch = Vec::with_capacity(rows.len() * size * size * 3);
        for (row, sample) in rows.iter().zip(samples) {
            let (down, right, flip) = self.augmentation(step, *sample);
            for h in 0..size {
                for w in 0..size {
                    let (h, w) = (h + down, w + right);
                    let inside = (padding..padding + size).contains(&h)
                        && (padding..padding + size).contains(&w);
                    for c in self.order.colours() {
                        if !inside {
                            batch.push(0.0);
                            continue;
                        }
                        let w = match flip {
                            true => size - 1 - (w - padding),
                            false => w - padding,
                        };
                        let at = ((h - padding) * size + w) * 3 + c;
                        let image = &images[*row as usize * words..];
                        let value = match self.pixels {
                            PixelFormat::U8 => f64::from((image[at / 4] >> (8 * (at % 4))) & 255),
                            PixelFormat::F32 => f64::from(f32::from_bits(image[at])),
                        };
                        batch.push((value - f64::from(self.mean[c])) / f64::from(self.std[c]));
                    }
                }
            }
        }
        let shape = Shape::channels(&[rows.len(), size, size, 3]);
        vec![Tensor::real(shape, batch)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        use PixelFormat::{F32, U8};
        let cases = [
            (8, U8, 2, true, 9),
            (5, U8, 0, false, 3),
            (1, U8, 0, true, 1),
            (3, F32, 0, true, 5),
        ];
        cases
            .map(|(size, pixels, padding, flip, batch)| {
                let order = match size {
                    5 => ChannelOrder::Bgr,
                    _ => ChannelOrder::Rgb,
                };
                let op = AssembleBatch {
                    order,
                    size,
                    pixels,
                    padding,
                    flip,
                    mean: [125.3, 123.0, 113.9],
                    std: [63.0, 62.1, 66.7],
                };
                let table = Shape::indices(&[6, AssembleBatch::image_words(size, pixels)]);
                let images = match pixels {
                    U8 => draw.words(table),
                    F32 => {
                        // From below 0 to above 255.
                        let values = draw.words(table.clone());
                        let values = values.indices().iter();
                        let values = values.map(|word| (word >> 23) as f32 - 128.25);
                        Tensor::index(table, values.map(f32::to_bits).collect())
                    }
                };
                let step = Step {
                    seed: 0x1234_5678_9abc,
                    epoch: 3,
                    ..Step::default()
                };
                let rows = Shape::indices(&[batch]);
                let inputs = vec![
                    images,
                    draw.below(rows.clone(), 6),
                    draw.words(rows),
                    Tensor::index(Step::shape(), step.to_words().into()),
                ];
                Sample::new(op, inputs)
            })
            .into()
    }
}
