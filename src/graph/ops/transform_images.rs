//! Gathers images and changes each by a [`Transform`]: automatic augmentation, before flip and crop.
//!
//! The transforms are drawn on the host, so that all devices change images alike.

use super::super::{Data, Tensor};
use super::named::{inputs, named};
use super::transform::{TRANSFORM_SIZE, TRANSFORM_WORDS, Transform};
use super::{AssembleBatch, Base, Draw, HalfMaps, Operator, Sample, require};
use crate::shape::{PixelFormat, Shape};

/// (images u32 [M, words], rows u32 `[N]`, transforms u32 [N, 7]) → images u32 [N, words]: row
/// `rows[n]` of the images, changed by transform n.
///
/// Images are bytes, four to a word, as in [`AssembleBatch`].
#[derive(Clone, Debug, PartialEq)]
pub struct TransformImages {
    /// Height and width of an image in pixels.
    pub size: usize,
}

inputs! {
    /// Operands of [`TransformImages`].
    TransformImagesInputs of TransformImages {
        /// The images, u32 [M, words].
        images,
        /// Row of `images` of each result, u32 `[N]`.
        rows,
        /// [`Transform`] of each result, u32 [N, 7].
        transforms,
    }
}

impl TransformImages {
    /// Bytes of an image.
    fn bytes(&self) -> usize {
        PixelFormat::U8.image_bytes(self.size)
    }

    /// Changes an image, given and returned as words.
    pub fn apply(&self, transform: Transform, x: &[u32], y: &mut [u32]) {
        let x = &bytemuck::cast_slice(x)[..self.bytes()];
        let y = bytemuck::cast_slice_mut(y);
        y[self.bytes()..].fill(0);
        transform.apply(x, &mut y[..self.bytes()], self.size);
    }
}

impl Operator for TransformImages {
    const NAME: &'static str = "transform_images";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let TransformImagesInputs {
            images,
            rows,
            transforms,
        } = self.try_inputs(inputs)?;
        let words = AssembleBatch::image_words(self.size, PixelFormat::U8);
        require(self.size <= TRANSFORM_SIZE, || {
            format!("takes images of up to {TRANSFORM_SIZE} pixels a side")
        })?;
        require(
            images.dims.len() == 2 && *images == Shape::indices(&[images.dims[0], words]),
            || format!("images must be u32 [M, {words}]"),
        )?;
        require(*rows == Shape::indices(&[rows.len()]), || {
            "rows must be u32 [N]".to_owned()
        })?;
        require(
            *transforms == Shape::indices(&[rows.len(), TRANSFORM_WORDS]),
            || format!("transforms must be u32 [N, {TRANSFORM_WORDS}]"),
        )?;
        Ok(vec![Shape::indices(&[rows.len(), words])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let TransformImagesInputs {
            images,
            rows,
            transforms,
        } = self.inputs(inputs);
        let words = images.shape.last();
        let shape = Shape::indices(&[rows.shape.len(), words]);
        let mut y = vec![0; shape.len()];
        let transforms = transforms.indices().chunks_exact(TRANSFORM_WORDS);
        let entries = y.chunks_exact_mut(words).zip(rows.indices());
        for ((y, row), transform) in entries.zip(transforms) {
            let x = &images.indices()[*row as usize * words..][..words];
            self.apply(Transform::from_words(transform), x, y);
        }
        vec![Tensor::index(shape, y)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let cases = |size: usize| {
            [
                Transform::Identity,
                Transform::shear_x(0.3),
                Transform::shear_y(-0.99),
                Transform::translate(2, -1),
                Transform::rotate(-30.0, size),
                Transform::rotate(90.0, size),
                Transform::blend(Base::Black, 1.7),
                Transform::blend(Base::Grey, 0.1),
                Transform::blend(Base::MeanGrey, 1.9),
                Transform::blend(Base::Smooth, 1.9),
                Transform::posterize(3),
                Transform::solarize(100.2),
                Transform::invert(),
                Transform::AutoContrast,
                Transform::Equalize,
            ]
        };
        // 17 x 17 pixels have more than 255 values, so that equalizing changes them; those of the
        // last size have one colour.
        [(17, u32::MAX), (5, 0x3f5f_7f9f), (1, u32::MAX), (4, 0)]
            .map(|(size, mask)| {
                let transforms = cases(size);
                let words = AssembleBatch::image_words(size, PixelFormat::U8);
                let mut images = draw.words(Shape::indices(&[3, words]));
                if let Data::Index(words) = &mut images.data {
                    words.iter_mut().for_each(|word| *word &= mask);
                }
                let count = transforms.len();
                let inputs = vec![
                    images,
                    draw.below(Shape::indices(&[count]), 3),
                    Tensor::index(
                        Shape::indices(&[count, TRANSFORM_WORDS]),
                        transforms
                            .into_iter()
                            .flat_map(Transform::to_words)
                            .collect(),
                    ),
                ];
                Sample::new(TransformImages { size }, inputs)
            })
            .into()
    }
}
