//! Mixes each image of a batch with another one of it: mixup (Zhang et al., ICLR 2018) and CutMix
//! (Yun et al., ICCV 2019).
//!
//! Who is whose partner, the weight and the rectangle are drawn on the host, so that all devices
//! mix the same pixels.

use super::super::Tensor;
use super::named::{inputs, named};
use super::rectangle::{RECTANGLE_WORDS, Rectangle};
use super::{Draw, HalfMaps, Operator, Sample, nhwc, require};
use crate::shape::Shape;

/// (x [N, H, W, C], mixtures u32 [N, 6]) → x, mixed.
///
/// Image n becomes w·x\[n\] + (1 − w)·x\[partner\], with w = 0 inside the rectangle of its
/// [`Mixture`] and its weight elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub struct MixBatch;

/// What an image is mixed with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixture {
    /// The position of the other image in the batch.
    pub partner: u32,
    /// Weight of the own image outside the rectangle, in [0, 1].
    pub weight: f32,
    /// Where the other image replaces the own one.
    pub rectangle: Rectangle,
}

/// Words of a [`Mixture`].
pub const MIXTURE_WORDS: usize = 2 + RECTANGLE_WORDS;

impl Mixture {
    /// Partner, bits of the weight, rectangle.
    pub fn to_words(self) -> [u32; MIXTURE_WORDS] {
        let [top, left, bottom, right] = self.rectangle.to_words();
        let weight = self.weight.to_bits();
        [self.partner, weight, top, left, bottom, right]
    }

    /// The inverse of [`Mixture::to_words`].
    ///
    /// # Panics
    /// If there are fewer words.
    pub fn from_words(words: &[u32]) -> Mixture {
        Mixture {
            partner: words[0],
            weight: f32::from_bits(words[1]),
            rectangle: Rectangle::from_words(&words[2..]),
        }
    }
}

inputs! {
    /// Operands of [`MixBatch`].
    MixBatchInputs of MixBatch {
        /// Images [N, H, W, C].
        x,
        /// The [`Mixture`] of each image, u32 [N, 6].
        mixtures,
    }
}

impl Operator for MixBatch {
    const NAME: &'static str = "mix_batch";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let MixBatchInputs { x, mixtures } = self.try_inputs(inputs)?;
        let [batch, ..] = nhwc(x)?;
        require(*mixtures == Shape::indices(&[batch, MIXTURE_WORDS]), || {
            format!("needs mixtures u32 [{batch}, {MIXTURE_WORDS}]")
        })?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let MixBatchInputs { x, mixtures } = self.inputs(inputs);
        let [_, height, width, channels] = [0, 1, 2, 3].map(|axis| x.shape.dims[axis]);
        let image = height * width * channels;
        let mixtures = mixtures.indices().chunks_exact(MIXTURE_WORDS);
        let mut values = Vec::with_capacity(x.shape.len());
        for (own, mixture) in x.values().chunks_exact(image).zip(mixtures) {
            let mixture = Mixture::from_words(mixture);
            let other = &x.values()[mixture.partner as usize * image..][..image];
            for (at, (own, other)) in own.iter().zip(other).enumerate() {
                let pixel = at / channels;
                let weight = match mixture.rectangle.contains(pixel / width, pixel % width) {
                    true => 0.0,
                    false => f64::from(mixture.weight),
                };
                values.push(weight * own + (1.0 - weight) * other);
            }
        }
        vec![Tensor::real(x.shape.clone(), values)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let cut = Rectangle {
            top: 1,
            left: 0,
            bottom: 4,
            right: 2,
        };
        let none = Rectangle::default();
        [
            ([4, 5, 6, 3], 0.3, none),
            ([3, 6, 4, 7], 1.0, cut),
            ([2, 4, 5, 1], 0.75, cut),
            ([1, 3, 2, 3], 0.6, none),
        ]
        .map(|(dims, weight, rectangle)| {
            let x = draw.real(Shape::channels(&dims));
            let partners = draw.below(Shape::indices(&[dims[0]]), dims[0] as u32);
            let mixtures = partners.indices().iter().zip(0..);
            let mixtures = mixtures.flat_map(|(partner, row)| {
                // Not all images of the batch alike.
                let rectangle = Rectangle {
                    left: rectangle.left + row % 2,
                    ..rectangle
                };
                let mixture = Mixture {
                    partner: *partner,
                    weight: weight / (1 + row % 3) as f32,
                    rectangle,
                };
                mixture.to_words()
            });
            let shape = Shape::indices(&[dims[0], MIXTURE_WORDS]);
            let mixtures = Tensor::index(shape, mixtures.collect());
            Sample::new(MixBatch, vec![x, mixtures])
        })
        .into()
    }
}
