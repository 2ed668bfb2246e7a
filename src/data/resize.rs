//! Brings an image to the size of the network: shrink or grow, then cut out the centre.
//!
//! The filter is a triangle whose foot is two pixels of the coarser grid on each side of its
//! centre put together, so shrinking averages (anti-aliasing) and growing interpolates
//! linearly; this is what other programs call bilinear with anti-aliasing.
//! Only the pixels that survive the cut are computed: a panorama of 60,000 x 10 costs no more
//! than the square in its middle.
//! Arithmetic is plain addition and multiplication, so every platform gets the same bytes.

use image::RgbImage;

/// How an image of any shape becomes a square of N x N.
///
/// An image that already is N x N is taken unchanged by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crop {
    /// The shorter side becomes N (networks with the CIFAR stem).
    Shorter,
    /// The shorter side becomes round(N·256/224), as in ImageNet evaluation.
    ImageNet,
}

impl Crop {
    /// What the shorter side becomes before the centre of `size` x `size` is cut out.
    pub fn shorter_side(self, size: u32) -> u32 {
        match self {
            Crop::Shorter => size,
            Crop::ImageNet => ((u64::from(size) * 256 + 112) / 224) as u32,
        }
    }
}

/// The centre of the resized image, `size` x `size`, rows of R, G, B.
///
/// The longer side becomes longer/shorter·target, cut off to a whole number; the offset of the
/// cut is half of what is over, rounded up (both as in fb.resnet.torch).
pub(super) fn fit(image: &RgbImage, size: u32, crop: Crop) -> Vec<u8> {
    let (width, height) = image.dimensions();
    if (width, height) == (size, size) {
        return image.as_raw().clone();
    }
    let target = crop.shorter_side(size);
    let shorter = width.min(height);
    let columns = taps(width, shorter, target, size);
    let rows = taps(height, shorter, target, size);

    // Rows first: whole stretches of the source are added up, which vectorises.
    let left = columns[0].start;
    let right = columns.iter().map(Tap::end).max().unwrap_or(left);
    let stride = width as usize * 3;
    let mut output = Vec::with_capacity(size as usize * size as usize * 3);
    let mut line = vec![0.0f32; (right - left) * 3];
    for row in &rows {
        line.fill(0.0);
        for (y, weight) in row.weighted() {
            let start = y * stride;
            let source = &image.as_raw()[start + left * 3..start + right * 3];
            for (sum, &byte) in line.iter_mut().zip(source) {
                *sum += weight * f32::from(byte);
            }
        }
        for column in &columns {
            let mut sums = [0.0f32; 3];
            for (x, weight) in column.weighted() {
                let pixel = &line[(x - left) * 3..(x - left) * 3 + 3];
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * value;
                }
            }
            // The weights add up to one, so a sum leaves 0..=255 only by rounding, and `as`
            // clamps.
            output.extend(sums.map(|sum| (sum + 0.5) as u8));
        }
    }
    output
}

/// Which source pixels make one target pixel, and how much each of them counts.
struct Tap {
    start: usize,
    weights: Vec<f32>,
}

impl Tap {
    fn end(&self) -> usize {
        self.start + self.weights.len()
    }

    fn weighted(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        (self.start..).zip(self.weights.iter().copied())
    }
}

/// The taps of the `size` central pixels along a side of `side` source pixels, when `shorter`
/// source pixels become `target`.
fn taps(side: u32, shorter: u32, target: u32, size: u32) -> Vec<Tap> {
    let scaled = u64::from(side) * u64::from(target) / u64::from(shorter);
    let offset = (scaled - u64::from(size)).div_ceil(2);
    let ratio = f64::from(side) / scaled as f64;
    let reach = ratio.max(1.0);
    (offset..offset + u64::from(size))
        .map(|index| {
            let centre = (index as f64 + 0.5) * ratio;
            let start = (centre - reach).floor().max(0.0) as usize;
            let end = (centre + reach).ceil().min(f64::from(side)) as usize;
            let weight = |x: usize| (1.0 - (x as f64 + 0.5 - centre).abs() / reach).max(0.0);
            let total: f64 = (start..end).map(weight).sum();
            Tap {
                start,
                weights: (start..end).map(|x| (weight(x) / total) as f32).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use image::imageops::{self, FilterType};

    use super::*;

    /// An image without symmetry: waves of different length per channel, and hard edges.
    fn sample(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            let wave = |a: f32, b: f32| (127.5 + 127.5 * (x as f32 * a + y as f32 * b).sin()) as u8;
            let edge = if (x / 5 + y / 3) % 2 == 0 { 255 } else { 0 };
            Rgb([wave(0.3, 0.1), wave(0.05, 0.4), edge])
        })
    }

    #[test]
    fn a_image_of_the_right_size_is_unchanged() {
        let image = sample(32, 32);
        assert_eq!(fit(&image, 32, Crop::Shorter), image.as_raw()[..]);
        assert_eq!(fit(&image, 32, Crop::ImageNet), image.as_raw()[..]);
    }

    #[test]
    fn the_shorter_side_follows_the_rule() {
        assert_eq!(Crop::Shorter.shorter_side(32), 32);
        for (size, expected) in [(224, 256), (32, 37), (320, 366), (1, 1)] {
            assert_eq!(Crop::ImageNet.shorter_side(size), expected);
        }
    }

    /// The whole resized image by the image crate, then its centre. The crate sums in
    /// another order and both round to a byte, so one step of difference is allowed.
    #[test]
    fn shrinking_and_growing_agree_with_the_image_crate() {
        for (width, height, size, crop) in [
            (100, 75, 32, Crop::Shorter),
            (75, 100, 32, Crop::Shorter),
            (33, 32, 32, Crop::Shorter),
            (32, 32, 64, Crop::Shorter),
            (17, 9, 32, Crop::Shorter),
            (1, 1, 32, Crop::Shorter),
            (1, 7, 8, Crop::Shorter),
            (300, 260, 224, Crop::ImageNet),
            (500, 375, 32, Crop::ImageNet),
        ] {
            let image = sample(width, height);
            let shorter = width.min(height);
            let target = crop.shorter_side(size);
            let (wide, high) = (width * target / shorter, height * target / shorter);
            let resized = imageops::resize(&image, wide, high, FilterType::Triangle);
            let (x, y) = ((wide - size).div_ceil(2), (high - size).div_ceil(2));
            let expected = imageops::crop_imm(&resized, x, y, size, size).to_image();
            let found = fit(&image, size, crop);
            assert_eq!(found.len(), expected.as_raw().len());
            let largest = found
                .iter()
                .zip(expected.as_raw())
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert!(
                largest <= Some(1),
                "{width} x {height} to {size}: off by {largest:?}"
            );
        }
    }

    #[test]
    fn a_plain_image_stays_plain() {
        let image = RgbImage::from_pixel(4000, 3, Rgb([255, 1, 0]));
        let found = fit(&image, 16, Crop::ImageNet);
        assert!(found.chunks(3).all(|pixel| pixel == [255, 1, 0]));
    }

    /// Resized as a whole this would take 65,000·256/1 columns, 10 GB.
    #[test]
    fn an_extreme_shape_costs_only_its_centre() {
        let image = RgbImage::from_fn(65_000, 1, |x, _| Rgb([(x / 300) as u8, 0, 255]));
        let found = fit(&image, 224, Crop::ImageNet);
        assert_eq!(found.len(), 224 * 224 * 3);
        assert!(found.chunks(3).all(|pixel| pixel == [108, 0, 255]));
    }
}
