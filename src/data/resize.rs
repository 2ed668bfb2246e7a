//! Resizes an image of any extents to the square input of a network, by resampling and cropping.
//!
//! The filter is bilinear with anti-aliasing: a triangle that extends one pixel of the coarser
//! grid to either side.
//! Only the pixels inside a crop are computed: a panorama of 60,000 x 10 costs no more
//! than the square in its middle.
//! Arithmetic is plain addition and multiplication, so every platform gets the same bytes.

use image::RgbImage;
use serde::{Deserialize, Serialize};

/// How an image of any extents becomes a square of N x N.
///
/// An image of N x N is used unchanged. In any other, the shorter side is resized to
/// `shorter_side`, the longer one in proportion, and the centre is cropped.
///
/// ```
/// use pyr_wgpu::data::Resize;
///
/// // ImageNet evaluation: 256 for 224, and in proportion at other sizes.
/// let imagenet = Resize::new(224, 256);
/// assert_eq!(imagenet.scaled_to(32).shorter_side, 37);
/// assert_eq!(Resize::whole(224).scaled_to(32), Resize::whole(32));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resize {
    /// N, rows and columns of the result. A checkpoint stores it with the network.
    #[serde(skip)]
    pub size: u32,
    /// Pixels of the shorter side before the crop, at least N.
    pub shorter_side: u32,
    /// How pixels of the new grid are computed from those of the old one.
    #[serde(default, skip_serializing_if = "Resampling::is_default")]
    pub resampling: Resampling,
    /// Which crops are taken; a choice of an evaluation, not of a network.
    #[serde(skip)]
    pub views: Views,
}

/// The crops of an image over which an evaluation averages the scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Views {
    /// The centre.
    #[default]
    Centre,
    /// The centre and its mirror image.
    Flip,
    /// The centre and the four corners of the resized image, and of its mirror image (Krizhevsky et
    /// al.: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012; offsets as
    /// in fb.resnet.torch).
    TenCrop,
}

/// Where along a side a crop lies.
#[derive(Clone, Copy)]
enum Place {
    Start,
    /// Half of the excess, rounded up.
    Centre,
    End,
}

impl Views {
    /// Number of crops.
    pub const fn count(self) -> usize {
        match self {
            Views::Centre => 1,
            Views::Flip => 2,
            Views::TenCrop => 10,
        }
    }
}

/// Places along rows and columns of the crops of [`Views::TenCrop`].
const TEN_CROP: [[Place; 2]; 5] = [
    [Place::Centre, Place::Centre],
    [Place::Start, Place::Start],
    [Place::Start, Place::End],
    [Place::End, Place::Start],
    [Place::End, Place::End],
];

impl Place {
    /// The offset of a crop, of the pixels that it leaves.
    fn offset(self, excess: u64) -> u64 {
        match self {
            Place::Start => 0,
            Place::Centre => excess.div_ceil(2),
            Place::End => excess,
        }
    }
}

/// The resampling filter.
///
/// There is one so far, the default of files that name none; a file that names another is
/// refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// Bilinear with anti-aliasing.
    #[default]
    Triangle,
}

impl Resampling {
    fn is_default(&self) -> bool {
        *self == Resampling::default()
    }
}

impl Resize {
    /// Resizes the shorter side to `shorter_side` pixels and crops to `size` x `size`.
    pub const fn new(size: u32, shorter_side: u32) -> Resize {
        Resize {
            size,
            shorter_side,
            resampling: Resampling::Triangle,
            views: Views::Centre,
        }
    }

    /// The whole shorter side becomes `size`; only the longer one is cropped.
    pub const fn whole(size: u32) -> Resize {
        Resize::new(size, size)
    }

    /// The same proportions at another size; the shorter side is rounded to whole pixels.
    #[must_use]
    pub fn scaled_to(self, size: u32) -> Resize {
        let [from, to, side] = [self.size, size, self.shorter_side].map(u64::from);
        let shorter_side = (to * side + from / 2) / from;
        Resize {
            size,
            shorter_side: u32::try_from(shorter_side).unwrap_or(u32::MAX),
            ..self
        }
    }

    /// Bytes of the views of an image.
    pub(super) fn bytes(self) -> usize {
        self.views.count() * image_bytes(self.size)
    }

    /// Whether the only view of an image of this extent is the image itself.
    pub(super) fn keeps(self, size: u32) -> bool {
        self.views == Views::Centre && size == self.size
    }

    /// The [`Views`] of the resized image, each N x N, rows of R, G, B.
    ///
    /// The longer side becomes longer/shorter·target, truncated to an integer; the offset of the
    /// central crop is half of the excess, rounded up (both as in fb.resnet.torch). An image of N x
    /// N is not resized, except for ten crops.
    ///
    /// # Panics
    /// If the shorter side is below N.
    pub(super) fn apply(self, image: &RgbImage) -> Vec<u8> {
        assert!(self.size <= self.shorter_side, "no crop of {self:?}");
        match self.views {
            Views::Centre => self.centre(image),
            Views::Flip => {
                let centre = self.centre(image);
                [mirror(&centre, self.size), centre].concat()
            }
            Views::TenCrop => {
                let mut views = Vec::with_capacity(self.bytes());
                for places in TEN_CROP {
                    views.extend(self.crop(image, places, false));
                    views.extend(mirror(&self.crop(image, places, true), self.size));
                }
                views
            }
        }
    }

    /// The centre of the resized image, or an image of N x N itself.
    fn centre(self, image: &RgbImage) -> Vec<u8> {
        match image.dimensions() == (self.size, self.size) {
            true => image.as_raw().clone(),
            false => self.crop(image, [Place::Centre; 2], false),
        }
    }

    /// A crop of the resized image, by its place along rows and columns; columns are counted from
    /// the right if `mirrored`.
    fn crop(self, image: &RgbImage, [down, right]: [Place; 2], mirrored: bool) -> Vec<u8> {
        let (size, target) = (self.size, self.shorter_side);
        let (width, height) = image.dimensions();
        let shorter = width.min(height);
        let columns = taps(width, shorter, target, size, |excess| match mirrored {
            true => excess - right.offset(excess),
            false => right.offset(excess),
        });
        let rows = taps(height, shorter, target, size, |excess| down.offset(excess));

        let mut output = Vec::with_capacity(image_bytes(size));
        // The weights add up to one, so a sum leaves 0..=255 only by rounding, and `as` clamps.
        resample(image, &rows, &columns, |sums| {
            output.extend(sums.map(|sum| (sum + 0.5) as u8));
        });
        output
    }
}

/// Bytes of one RGB image.
pub(super) fn image_bytes(size: u32) -> usize {
    size as usize * size as usize * 3
}

/// Square images of `size` pixels a side with the order of the pixels of each row reversed.
fn mirror(images: &[u8], size: u32) -> Vec<u8> {
    let rows = images.chunks_exact(3 * size as usize);
    rows.flat_map(|row| row.rchunks_exact(3).flatten().copied())
        .collect()
}

/// Passes to `write`, row by row, the pixels of which every row and column has its taps.
pub(super) fn resample(
    image: &RgbImage,
    rows: &[Tap],
    columns: &[Tap],
    mut write: impl FnMut([f32; 3]),
) {
    // Rows first: whole row segments of the source are summed, which vectorises.
    let left = columns.iter().map(|tap| tap.start).min().unwrap_or(0);
    let right = columns.iter().map(Tap::end).max().unwrap_or(left);
    let stride = image.width() as usize * 3;
    let mut line = vec![0.0f32; (right - left) * 3];
    for row in rows {
        line.fill(0.0);
        for (y, weight) in row.weighted() {
            let start = y * stride;
            let source = &image.as_raw()[start + left * 3..start + right * 3];
            for (sum, &byte) in line.iter_mut().zip(source) {
                *sum += weight * f32::from(byte);
            }
        }
        for column in columns {
            let mut sums = [0.0f32; 3];
            for (x, weight) in column.weighted() {
                let pixel = &line[(x - left) * 3..(x - left) * 3 + 3];
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * value;
                }
            }
            write(sums);
        }
    }
}

/// The source pixels of one target pixel, with their weights.
pub(super) struct Tap {
    start: usize,
    weights: Vec<f32>,
}

impl Tap {
    pub(super) fn new(start: usize, weights: Vec<f32>) -> Tap {
        Tap { start, weights }
    }

    fn end(&self) -> usize {
        self.start + self.weights.len()
    }

    fn weighted(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        (self.start..).zip(self.weights.iter().copied())
    }
}

/// The taps of `size` pixels along a side of `side` source pixels, when `shorter` source pixels
/// become `target`; `offset` is the number of pixels before them, of those that are left out.
fn taps(side: u32, shorter: u32, target: u32, size: u32, offset: impl Fn(u64) -> u64) -> Vec<Tap> {
    let scaled = u64::from(side) * u64::from(target) / u64::from(shorter);
    let offset = offset(scaled - u64::from(size));
    let ratio = f64::from(side) / scaled as f64;
    let support = ratio.max(1.0);
    (offset..offset + u64::from(size))
        .map(|index| {
            let centre = (index as f64 + 0.5) * ratio;
            let start = (centre - support).floor().max(0.0) as usize;
            let end = (centre + support).ceil().min(f64::from(side)) as usize;
            let weight = |x: usize| (1.0 - (x as f64 + 0.5 - centre).abs() / support).max(0.0);
            let total: f64 = (start..end).map(weight).sum();
            let weights = (start..end).map(|x| (weight(x) / total) as f32);
            Tap::new(start, weights.collect())
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

    /// ImageNet evaluation.
    const IMAGENET: Resize = Resize::new(224, 256);

    #[test]
    fn an_image_of_the_right_size_is_unchanged() {
        let image = sample(32, 32);
        for shorter_side in [32, 37, 40] {
            let found = Resize::new(32, shorter_side).apply(&image);
            assert_eq!(found, image.as_raw()[..]);
        }
    }

    #[test]
    fn proportions_are_kept_at_other_sizes() {
        for (size, expected) in [(224, 256), (32, 37), (64, 73), (320, 366), (1, 1)] {
            assert_eq!(IMAGENET.scaled_to(size).shorter_side, expected);
        }
        assert_eq!(Resize::new(32, 40).scaled_to(64), Resize::new(64, 80));
        assert_eq!(Resize::whole(32).scaled_to(48), Resize::whole(48));
    }

    /// The shorter side determines how much of the border is cropped.
    #[test]
    fn the_shorter_side_is_obeyed() {
        // A ramp over 80 columns: the outermost of the 32 kept ones show where they were.
        let image = RgbImage::from_fn(80, 80, |x, _| Rgb([3 * x as u8; 3]));
        let ends = |shorter_side| {
            let found = Resize::new(32, shorter_side).apply(&image);
            (found[0], found[31 * 3])
        };
        assert_eq!(ends(40), (26, 212));
        // The filter is cut off at the border, which pulls both ends inwards.
        assert_eq!(ends(32), (3, 234));
        assert_eq!(ends(80), (72, 165));
    }

    /// The whole resized image by the image crate, then its centre. The crate sums in
    /// another order and both round to a byte, so one step of difference is allowed.
    #[test]
    fn shrinking_and_growing_agree_with_the_image_crate() {
        for (width, height, resize) in [
            (100, 75, Resize::whole(32)),
            (75, 100, Resize::whole(32)),
            (33, 32, Resize::whole(32)),
            (32, 32, Resize::whole(64)),
            (17, 9, Resize::whole(32)),
            (1, 1, Resize::whole(32)),
            (1, 7, Resize::whole(8)),
            (300, 260, IMAGENET),
            (500, 375, IMAGENET.scaled_to(32)),
            (99, 70, Resize::new(32, 40)),
        ] {
            let image = sample(width, height);
            let shorter = width.min(height);
            let (size, target) = (resize.size, resize.shorter_side);
            let (wide, high) = (width * target / shorter, height * target / shorter);
            let resized = imageops::resize(&image, wide, high, FilterType::Triangle);
            let (x, y) = ((wide - size).div_ceil(2), (high - size).div_ceil(2));
            let expected = imageops::crop_imm(&resized, x, y, size, size).to_image();
            let found = resize.apply(&image);
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
        let found = IMAGENET.scaled_to(16).apply(&image);
        assert!(found.chunks(3).all(|pixel| pixel == [255, 1, 0]));
    }

    /// Crops of the whole resized image and of its mirror image, by hand.
    #[test]
    fn views_are_crops_of_the_image_and_its_mirror_image() {
        let resize = Resize {
            views: Views::TenCrop,
            ..Resize::new(14, 16)
        };
        // 21 columns after resizing: 7 more than the crop, so that the centre is at 4 from the left
        // and at 3 in the mirror image.
        let image = sample(42, 32);
        let whole = imageops::resize(&image, 21, 16, FilterType::Triangle);
        let places = [(4, 1), (0, 0), (7, 0), (0, 2), (7, 2)];
        let crops = places.iter().flat_map(|&(x, y)| {
            let crop = |image: &RgbImage| imageops::crop_imm(image, x, y, 14, 14).to_image();
            [crop(&whole), crop(&imageops::flip_horizontal(&whole))]
        });
        let views = resize.apply(&image);
        assert_eq!(views.len(), resize.bytes());
        for (view, expected) in views.chunks(14 * 14 * 3).zip(crops) {
            let pairs = view.iter().zip(expected.as_raw());
            assert!(pairs.map(|(a, b)| a.abs_diff(*b)).max() <= Some(1));
        }
        let centre = Resize::new(14, 16).apply(&image);
        let flip = Resize {
            views: Views::Flip,
            ..Resize::new(14, 16)
        };
        let crop = RgbImage::from_raw(14, 14, centre.clone()).unwrap();
        let mirrored = imageops::flip_horizontal(&crop).into_raw();
        assert_eq!(flip.apply(&image), [mirrored.clone(), centre].concat());
        assert_eq!(flip.apply(&crop), [mirrored, crop.into_raw()].concat());
    }

    /// Resized as a whole this would take 65,000·256/1 columns, 10 GB.
    #[test]
    fn an_extreme_shape_costs_only_its_centre() {
        let image = RgbImage::from_fn(65_000, 1, |x, _| Rgb([(x / 300) as u8, 0, 255]));
        let found = IMAGENET.apply(&image);
        assert_eq!(found.len(), 224 * 224 * 3);
        assert!(found.chunks(3).all(|pixel| pixel == [108, 0, 255]));
    }
}
