//! Sets rectangles of images to zero, the mean colour of a normalised image: random erasing
//! (Zhong et al., AAAI 2020) and cutout (DeVries and Taylor 2017).
//!
//! The rectangles are drawn on the host, so that all devices erase the same pixels.

use super::super::{Data, Tensor};
use super::named::{inputs, named};
use super::rectangle::{RECTANGLE_WORDS, Rectangle};
use super::{Draw, HalfMaps, Operator, Sample, nhwc, require};
use crate::shape::{DType, Shape};

/// (x [N, H, W, C], rectangles u32 [N, 4·R]) → x, 0 inside the R rectangles of its image.
#[derive(Clone, Debug, PartialEq)]
pub struct Erase;

inputs! {
    /// Operands of [`Erase`].
    EraseInputs of Erase {
        /// Images [N, H, W, C].
        x,
        /// [`Rectangle`]s of each image, u32 [N, 4·R].
        rectangles,
    }
}

impl Operator for Erase {
    const NAME: &'static str = "erase";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let EraseInputs { x, rectangles } = self.try_inputs(inputs)?;
        let [batch, ..] = nhwc(x)?;
        require(
            rectangles.dtype == DType::U32
                && rectangles.dims.len() == 2
                && rectangles.dims[0] == batch
                && rectangles.last().is_multiple_of(RECTANGLE_WORDS),
            || format!("needs rectangles u32 [{batch}, 4·R]"),
        )?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let EraseInputs { x, rectangles } = self.inputs(inputs);
        let [_, height, width, channels] = [0, 1, 2, 3].map(|axis| x.shape.dims[axis]);
        let words = rectangles.shape.last();
        let mut values = x.values().to_vec();
        for (at, pixel) in values.chunks_exact_mut(channels).enumerate() {
            let (n, row, column) = (at / (height * width), at / width % height, at % width);
            let own = &rectangles.indices()[n * words..(n + 1) * words];
            let mut own = own.chunks_exact(RECTANGLE_WORDS).map(Rectangle::from_words);
            if own.any(|rectangle| rectangle.contains(row, column)) {
                pixel.fill(0.0);
            }
        }
        vec![Tensor::real(x.shape.clone(), values)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [([3, 5, 6, 3], 1), ([2, 9, 4, 7], 2), ([1, 1, 1, 1], 2)]
            .map(|(dims, count)| {
                let x = draw.real(Shape::channels(&dims));
                let words = Shape::indices(&[dims[0], RECTANGLE_WORDS * count]);
                // Each corner up to the last row or column; the second may precede the first.
                let mut rectangles = draw.below(words, dims[1].min(dims[2]) as u32 + 1);
                if let Data::Index(words) = &mut rectangles.data {
                    let first = Rectangle {
                        top: 1,
                        left: 2,
                        bottom: dims[1] as u32,
                        right: 3,
                    };
                    words[..RECTANGLE_WORDS].copy_from_slice(&first.to_words());
                }
                Sample::new(Erase, vec![x, rectangles])
            })
            .into()
    }
}
