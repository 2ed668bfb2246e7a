//! The rectangles that are erased from a training image: random erasing (Zhong et al., AAAI 2020)
//! and cutout (DeVries and Taylor 2017).
//!
//! They depend on the seed, the epoch and the sample only. They follow flip and crop, so positions
//! are those of the network's input.

use super::Recipe;
use crate::data::EpochKey;
use crate::graph::ops::Rectangle;
use crate::rng::{Purpose, Stream};

/// Smallest and largest area of random erasing, as a share of the image.
const AREA: [f64; 2] = [0.02, 0.33];

/// Smallest and largest height over width of random erasing.
const ASPECT: [f64; 2] = [0.3, 3.3];

/// How often random erasing draws a rectangle until one fits.
const ATTEMPTS: usize = 10;

/// The rectangles of a sample in an image of `size` x `size`, as many as
/// [`Recipe::augmentation`] says.
pub fn erased(recipe: &Recipe, key: EpochKey, sample: u32, size: u32) -> Vec<Rectangle> {
    let stream = |purpose| key.stream(purpose, sample as usize);
    let erase = (recipe.erase > 0.0)
        .then(|| random_erasing(&mut stream(Purpose::Erase), recipe.erase, size));
    let cutout = recipe
        .cutout
        .map(|side| cutout(&mut stream(Purpose::Cutout), side, size));
    erase.into_iter().chain(cutout).collect()
}

/// Random erasing as torchvision's `RandomErasing` does it: with this probability, a rectangle whose
/// area is uniform and whose aspect is log-uniform. Empty if no attempt fits.
fn random_erasing(stream: &mut Stream, probability: f32, size: u32) -> Rectangle {
    if stream.uniform() >= probability {
        return Rectangle::default();
    }
    let image = f64::from(size).powi(2);
    let log_aspect = ASPECT.map(libm::log);
    for _ in 0..ATTEMPTS {
        let mut within = |[low, high]: [f64; 2]| low + (high - low) * stream.uniform_f64();
        let area = image * within(AREA);
        let aspect = libm::exp(within(log_aspect));
        let [height, width] = [area * aspect, area / aspect];
        let [height, width] =
            [height, width].map(|square| libm::sqrt(square).round_ties_even() as u32);
        if height < size && width < size {
            let [top, left] = [height, width].map(|side| stream.below(size - side + 1));
            return Rectangle {
                top,
                left,
                bottom: top + height,
                right: left + width,
            };
        }
    }
    Rectangle::default()
}

/// Cutout: a square around a uniform pixel, clipped to the image.
fn cutout(stream: &mut Stream, side: u32, size: u32) -> Rectangle {
    let [row, column] = [(); 2].map(|()| stream.below(size));
    let first = |centre: u32| centre.saturating_sub(side / 2);
    let end = |centre: u32| (centre + side.div_ceil(2)).min(size);
    Rectangle {
        top: first(row),
        left: first(column),
        bottom: end(row),
        right: end(column),
    }
}
