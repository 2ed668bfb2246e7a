//! The augmentation of ImageNet's recipe, as in Torch's `fb.resnet.torch`, up to the flip and the
//! normalisation, which happen on the device.
//!
//! A crop of 8 to 100 % of the area and with sides in a ratio of 3/4 to 4/3 becomes a square of N x
//! N (Szegedy et al.: Going Deeper with Convolutions, CVPR 2015, section 6), by the bicubic
//! interpolation of the library `image` of Torch. Brightness, contrast and saturation change by up
//! to 40 % in random order, and the lighting along the principal components of the colours of
//! ImageNet (Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural
//! Networks, NIPS 2012, section 4.1). No step rounds or clamps, so pixels are in single precision
//! and may leave the scale 0..255.
//!
//! Given the mean colour of the crop, each change of colour is affine in R, G and B, so all of them
//! together are one matrix and one offset.

use std::ops::Range;

use image::RgbImage;

use super::EpochKey;
use super::resize::{Tap, resample};
use crate::rng::{Purpose, Stream};

/// Smallest share of the area that is cropped.
const SMALLEST_AREA: f64 = 0.08;
/// Largest ratio of the sides of a crop.
const WIDEST: f64 = 4.0 / 3.0;
/// How often a crop is drawn before the centre is taken.
const ATTEMPTS: usize = 10;

/// Largest change of brightness, contrast and saturation.
const JITTER: f64 = 0.4;
/// Share of R, G and B in grey.
const GREY: [f64; 3] = [0.299, 0.587, 0.114];

/// Standard deviation of the shares of the principal components.
const LIGHTING: f64 = 0.1;
/// Square roots of the eigenvalues of the covariance of ImageNet's colours, on the scale 0..1.
const EIGENVALUES: [f64; 3] = [0.2175, 0.0188, 0.0045];
/// The components R, G and B of the eigenvectors, which are columns.
const EIGENVECTORS: [[f64; 3]; 3] = [
    [-0.5675, 0.7192, 0.4009],
    [-0.5808, -0.0045, -0.8140],
    [-0.5836, -0.6948, 0.4203],
];

/// Writes an image of `size` x `size`, augmented with the random numbers of a sample, in the format
/// [`PixelFormat::F32`](crate::shape::PixelFormat::F32).
pub(super) fn augment(image: &RgbImage, size: u32, key: EpochKey, sample: usize, out: &mut [u8]) {
    let stream = &mut key.stream(Purpose::ImageNet, sample);
    let region = Region::draw(image.dimensions(), stream);
    let changes = ColourChanges::draw(stream);
    write(image, size, region, changes, out);
}

/// Writes the resized region with its changes of colour.
fn write(image: &RgbImage, size: u32, region: Region, changes: ColourChanges, out: &mut [u8]) {
    let mut pixels = Vec::with_capacity(size as usize * size as usize);
    region.write(image, size, |pixel| pixels.push(pixel));
    let affine = changes.affine(mean(&pixels));
    let (matrix, offset) = (affine.matrix, affine.offset);
    let [matrix, offset] = [&matrix[..], &[offset]].map(|rows| {
        let rows = rows.iter().map(|row| row.map(|value| value as f32));
        rows.collect::<Vec<[f32; 3]>>()
    });
    for (out, [r, g, b]) in out.as_chunks_mut::<12>().0.iter_mut().zip(pixels) {
        for (channel, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let [from_red, from_green, from_blue] = matrix[channel];
            let value = from_red * r + from_green * g + from_blue * b + offset[0][channel];
            *out = value.to_le_bytes();
        }
    }
}

/// The part of an image that becomes a training image.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Region {
    /// A rectangle.
    Crop {
        left: u32,
        top: u32,
        width: u32,
        height: u32,
    },
    /// The centre, after the shorter side was resized to the size.
    Centre,
}

impl Region {
    fn draw((width, height): (u32, u32), stream: &mut Stream) -> Region {
        let area = f64::from(width) * f64::from(height);
        for _ in 0..ATTEMPTS {
            let area = area * between(SMALLEST_AREA, 1.0, stream);
            let aspect = between(1.0 / WIDEST, WIDEST, stream);
            // A crop of an image of few pixels may round to none.
            let mut sides =
                [area * aspect, area / aspect].map(|s| s.sqrt().round().max(1.0) as u32);
            if stream.uniform_f64() < 0.5 {
                sides.reverse();
            }
            let [w, h] = sides;
            if w <= width && h <= height {
                let top = stream.below(height - h + 1);
                let left = stream.below(width - w + 1);
                return Region::Crop {
                    left,
                    top,
                    width: w,
                    height: h,
                };
            }
        }
        Region::Centre
    }

    /// Passes the pixels of the resized region to `write`, by rows.
    fn write(self, image: &RgbImage, size: u32, write: impl FnMut([f32; 3])) {
        let (width, height) = image.dimensions();
        let size = u64::from(size);
        let sides = match self {
            Region::Crop {
                left,
                top,
                width,
                height,
            } => [(left, width), (top, height)]
                .map(|(start, side)| bicubic(start, side, size, 0..size)),
            Region::Centre => {
                let shorter = u64::from(width.min(height));
                [width, height].map(|side| {
                    let scaled = u64::from(side) * size / shorter;
                    let start = (scaled - size).div_ceil(2);
                    bicubic(0, side, scaled, start..start + size)
                })
            }
        };
        let [columns, rows] = sides;
        resample(image, &rows, &columns, write);
    }
}

/// Bicubic interpolation as in the library `image` of Torch, in one direction: the pixels `wanted`
/// of `target`, which a side of `side` source pixels from `start` on becomes.
///
/// The outermost pixels of both grids coincide; between four neighbours lies the spline of Catmull
/// and Rom. Neighbours beyond the border continue the last two pixels linearly. Shrinking skips
/// pixels.
fn bicubic(start: u32, side: u32, target: u64, wanted: Range<u64>) -> Vec<Tap> {
    let last = side as usize - 1;
    let tap = |index: u64| {
        if side == 1 {
            return Tap::new(start as usize, vec![1.0]);
        }
        let steps = index * last as u64;
        let grid = target.max(2) - 1;
        // The last pixel is the end of an interval, not the start of one.
        let before = ((steps / grid) as usize).min(last - 1);
        let t = (steps - before as u64 * grid) as f64 / grid as f64;
        let [mut outer_left, mut left, mut right, mut outer_right] = catmull_rom(t);
        let mut first = before;
        if before == 0 {
            left += 2.0 * outer_left;
            right -= outer_left;
            outer_left = 0.0;
        } else {
            first -= 1;
        }
        if before + 2 > last {
            right += 2.0 * outer_right;
            left -= outer_right;
            outer_right = 0.0;
        }
        let all = [outer_left, left, right, outer_right].map(|weight| weight as f32);
        let skipped = 1 - (before - first);
        let used = skipped..(before + 3).min(last + 1) - first + skipped;
        Tap::new(start as usize + first, all[used].to_vec())
    };
    wanted.map(tap).collect()
}

/// Weights of four neighbours at a distance `t` from the second towards the third.
fn catmull_rom(t: f64) -> [f64; 4] {
    [
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
}

/// A change of colour.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    /// Blends with black.
    Brightness(f64),
    /// Blends with the mean of the grey image.
    Contrast(f64),
    /// Blends with the grey image.
    Saturation(f64),
}

/// The changes of an image's colours.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ColourChanges {
    /// In their order; the number is the weight of the image itself.
    jitter: [Change; 3],
    /// What is added to R, G and B, on the scale 0..255.
    lighting: [f64; 3],
}

impl ColourChanges {
    fn draw(stream: &mut Stream) -> ColourChanges {
        let mut weight = || between(1.0 - JITTER, 1.0 + JITTER, stream);
        let changes = [
            Change::Brightness(weight()),
            Change::Contrast(weight()),
            Change::Saturation(weight()),
        ];
        let order = stream.permutation(3);
        let jitter = [0, 1, 2].map(|at| changes[order[at] as usize]);
        ColourChanges::new(jitter, [0; 3].map(|_| LIGHTING * stream.normal()))
    }

    /// The changes with shares of the principal components.
    fn new(jitter: [Change; 3], shares: [f64; 3]) -> ColourChanges {
        let lengths = [0, 1, 2].map(|at| shares[at] * EIGENVALUES[at]);
        ColourChanges {
            jitter,
            lighting: EIGENVECTORS.map(|row| 255.0 * dot(row, lengths)),
        }
    }

    /// All changes together, of an image with a mean colour.
    fn affine(&self, mean: [f64; 3]) -> Affine {
        let mut affine = Affine {
            matrix: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            offset: [0.0; 3],
        };
        for change in self.jitter {
            affine = match change {
                Change::Brightness(a) => affine.map(|column| column.map(|x| a * x)),
                Change::Saturation(a) => affine.map(|column| {
                    let grey = dot(GREY, column);
                    column.map(|x| a * x + (1.0 - a) * grey)
                }),
                Change::Contrast(a) => {
                    let grey = dot(GREY, affine.apply(mean));
                    let mut affine = affine.map(|column| column.map(|x| a * x));
                    affine.offset = affine.offset.map(|x| x + (1.0 - a) * grey);
                    affine
                }
            };
        }
        for (offset, light) in affine.offset.iter_mut().zip(self.lighting) {
            *offset += light;
        }
        affine
    }
}

/// matrix·colour + offset.
#[derive(Clone, Copy, Debug)]
struct Affine {
    matrix: [[f64; 3]; 3],
    offset: [f64; 3],
}

impl Affine {
    /// This map, followed by a linear one.
    fn map(self, linear: impl Fn([f64; 3]) -> [f64; 3]) -> Affine {
        let columns = [0, 1, 2].map(|column| linear(self.matrix.map(|row| row[column])));
        Affine {
            matrix: [0, 1, 2].map(|row| columns.map(|column| column[row])),
            offset: linear(self.offset),
        }
    }

    fn apply(&self, colour: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|row| dot(self.matrix[row], colour) + self.offset[row])
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Uniform between two numbers.
fn between(low: f64, high: f64, stream: &mut Stream) -> f64 {
    low + (high - low) * stream.uniform_f64()
}

/// The mean colour.
fn mean(pixels: &[[f32; 3]]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for pixel in pixels {
        for (sum, value) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(*value);
        }
    }
    sums.map(|sum| sum / pixels.len() as f64)
}

#[cfg(test)]
mod tests;
