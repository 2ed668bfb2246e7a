//! Numbers about the images of a source: mean and standard deviation per channel, for datasets
//! that publish none, and a fingerprint.

use rayon::prelude::*;

use super::images::sample_bytes;
use super::{DataError, Source};
use crate::rng::hash;

/// Largest number of images that mean and deviation are measured on; it gives the mean to about a
/// third of a grey level.
pub const MEASURED: usize = 10_000;

/// Mean and standard deviation of R, G and B on the scale 0..255, over all pixels of all
/// images, or of [`MEASURED`] images evenly spread over the source if it has more.
///
/// Sums are integers, so the result does not depend on how threads share the work. A deviation
/// below 1 becomes 1, so that images of one colour are not divided by zero.
pub(super) fn measure(source: &dyn Source) -> Result<([f32; 3], [f32; 3]), DataError> {
    let count = source.len().min(MEASURED);
    let sums = (0..count).into_par_iter().map(|sample| {
        let mut image = vec![0; sample_bytes(source, false)];
        source.read(sample * source.len() / count, None, &mut image)?;
        let mut sums = [[0u64; 2]; 3];
        for pixel in image.chunks_exact(3) {
            for (sum, &byte) in sums.iter_mut().zip(pixel) {
                sum[0] += u64::from(byte);
                sum[1] += u64::from(byte) * u64::from(byte);
            }
        }
        Ok::<_, DataError>(sums)
    });
    let add = |a: [[u64; 2]; 3], b: [[u64; 2]; 3]| {
        [0, 1, 2].map(|channel| [0, 1].map(|power| a[channel][power] + b[channel][power]))
    };
    let totals = sums.try_reduce(Default::default, |a, b| Ok(add(a, b)))?;
    let pixels = (count * sample_bytes(source, false) / 3) as f64;
    let mean = totals.map(|[sum, _]| sum as f64 / pixels);
    let deviation = totals.map(|[sum, squares]| {
        let mean = sum as f64 / pixels;
        (squares as f64 / pixels - mean * mean).max(1.0).sqrt()
    });
    Ok((mean.map(|m| m as f32), deviation.map(|d| d as f32)))
}

/// Largest number of images in a fingerprint.
const FINGERPRINTED: usize = 1000;

/// A number that changes with the labels of any images, and with the pixels of 1000 images evenly
/// spread over the source, or of all if it has fewer.
///
/// # Errors
/// If an image cannot be read.
pub fn fingerprint(source: &dyn Source) -> Result<u64, DataError> {
    let count = source.len().min(FINGERPRINTED);
    let images = (0..count).into_par_iter().map(|sample| {
        let mut image = vec![0; sample_bytes(source, false)];
        source.read(sample * source.len() / count, None, &mut image)?;
        Ok(hash(image))
    });
    let images: Result<Vec<u64>, DataError> = images.collect();
    let labels = (0..source.len()).map(|index| u64::from(source.label(index)));
    let numbers = labels.chain(images?);
    Ok(hash(numbers.flat_map(u64::to_le_bytes)))
}

#[cfg(test)]
mod tests {
    use super::super::images::Images;
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_the_pixels() {
        // Red 0 and 200: mean 100, deviation 100. Green 30 and 40. Blue always 7.
        let bytes = [[0, 30, 7], [200, 40, 7]].concat();
        let source = Images::new(1, bytes, vec![0, 1]);
        let (mean, deviation) = measure(&source).unwrap();
        assert_eq!(mean, [100.0, 35.0, 7.0]);
        assert_eq!(deviation, [100.0, 5.0, 1.0]);
    }

    #[test]
    fn a_fingerprint_tells_labels_and_images_apart() {
        let images = |bytes: [u8; 9], labels: [u32; 3]| {
            fingerprint(&Images::new(1, bytes.into(), labels.into())).unwrap()
        };
        let (bytes, labels) = ([1, 2, 3, 4, 5, 6, 7, 8, 9], [0, 1, 2]);
        assert_eq!(images(bytes, labels), images(bytes, labels));
        assert_ne!(images(bytes, labels), images(bytes, [1, 0, 2]));
        assert_ne!(
            images(bytes, labels),
            images([4, 5, 6, 1, 2, 3, 7, 8, 9], labels)
        );
    }

    #[test]
    fn a_large_source_is_sampled_all_over() {
        // The second half is white: a sample of the beginning would give 0.
        let count = 3 * MEASURED;
        let bytes = [vec![0; count / 2 * 3], vec![255; count / 2 * 3]].concat();
        let source = Images::new(1, bytes, vec![0; count]);
        assert_eq!(measure(&source).unwrap().0, [127.5; 3]);
    }
}
