//! Images in memory, all of one size.

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;
use rayon::prelude::*;

use super::resize::image_bytes;
use super::{DataError, EpochKey, HOST_LIMIT, Resize, Source};
use crate::memory;

/// Images in memory, all of one size, with their labels.
pub struct Images {
    size: u32,
    /// Number of views of an image.
    views: usize,
    bytes: Vec<u8>,
    labels: Vec<u32>,
    /// The file of each image; empty if a file held many.
    paths: Vec<PathBuf>,
}

impl Images {
    /// Images of `size` x `size`, back to back: rows from the top, pixels from the left,
    /// bytes R, G, B.
    ///
    /// # Panics
    /// If the bytes are not those of one image for each label.
    pub fn new(size: u32, bytes: Vec<u8>, labels: Vec<u32>) -> Images {
        Images::of_views(Resize::whole(size), bytes, labels)
    }

    /// Images as a resize produces them, back to back.
    pub(super) fn of_views(resize: Resize, bytes: Vec<u8>, labels: Vec<u32>) -> Images {
        let size = resize.size;
        assert_eq!(
            bytes.len(),
            labels.len() * resize.bytes(),
            "bytes of {} images of {size} x {size}",
            labels.len()
        );
        Images {
            size,
            views: resize.views.count(),
            bytes,
            labels,
            paths: Vec::new(),
        }
    }

    /// The same images with the file of each.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn with_paths(self, paths: Vec<PathBuf>) -> Images {
        assert_eq!(paths.len(), self.labels.len(), "a file for each image");
        Images { paths, ..self }
    }

    /// Resizes every image: now if the result may stay in memory, otherwise when it is read.
    pub(super) fn resized(self, resize: Resize) -> Arc<dyn Source> {
        let available = memory::available().unwrap_or(u64::MAX);
        self.resized_within(resize, HOST_LIMIT.min(available / 2))
    }

    fn resized_within(self, resize: Resize, limit: u64) -> Arc<dyn Source> {
        if resize.keeps(self.size) {
            return Arc::new(self);
        }
        let resized = Resized {
            images: self,
            resize,
        };
        let length = resize.bytes();
        if resized.len() as u64 * length as u64 > limit {
            return Arc::new(resized);
        }
        let mut bytes = vec![0; resized.len() * length];
        let slots = bytes.par_chunks_exact_mut(length).enumerate();
        slots.for_each(|(index, slot)| slot.copy_from_slice(&resized.image(index)));
        Arc::new(Images::of_views(resize, bytes, resized.images.labels))
    }

    fn image(&self, index: usize) -> &[u8] {
        let length = self.views * image_bytes(self.size);
        &self.bytes[index * length..(index + 1) * length]
    }
}

impl Source for Images {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn views(&self) -> usize {
        self.views
    }

    fn read(&self, index: usize, _: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        out.copy_from_slice(self.image(index));
        Ok(())
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.paths.get(index).cloned()
    }

    fn resident(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }
}

/// Images that would exceed the memory limit at the requested size; each is resized when read.
struct Resized {
    images: Images,
    resize: Resize,
}

impl Resized {
    fn image(&self, index: usize) -> Vec<u8> {
        let side = self.images.size;
        let image = RgbImage::from_raw(side, side, self.images.image(index).to_vec())
            .expect("an image has side x side pixels");
        self.resize.apply(&image)
    }
}

impl Source for Resized {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.images.label(index)
    }

    fn size(&self) -> u32 {
        self.resize.size
    }

    fn views(&self) -> usize {
        self.resize.views.count()
    }

    fn read(&self, index: usize, _: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        out.copy_from_slice(&self.image(index));
        Ok(())
    }

    fn resident(&self) -> Option<&[u8]> {
        None
    }
}

/// Zeros for so many images as a resize produces them.
///
/// # Errors
/// If the memory does not hold them.
pub(super) fn blank_images(count: usize, resize: Resize) -> Result<Vec<u8>, DataError> {
    let bytes = count * resize.bytes();
    memory::check(bytes as u64).map_err(DataError::Memory)?;
    memory::zeros(bytes).map_err(DataError::Memory)
}

/// Bytes of one image of a source in all its views, read with a key if `augmented`.
pub(super) fn sample_bytes(source: &dyn Source, augmented: bool) -> usize {
    let pixels = source.pixels(augmented);
    source.views() * pixels.image_bytes(source.size() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of 2 x 2, each of one colour.
    fn two() -> Images {
        let bytes = [[10, 20, 30].repeat(4), [40, 50, 60].repeat(4)].concat();
        Images::new(2, bytes, vec![7, 3])
    }

    #[test]
    fn an_image_is_read_where_it_lies() {
        let images = two();
        let mut out = [0; 12];
        images.read(1, None, &mut out).unwrap();
        assert_eq!(out[..], [40, 50, 60].repeat(4));
        assert_eq!((images.len(), images.label(1)), (2, 3));
        assert_eq!(images.resident().unwrap()[..3], [10, 20, 30]);
    }

    #[test]
    fn resizing_now_and_later_give_the_same_images() {
        let now = two().resized_within(Resize::whole(3), 54);
        let later = two().resized_within(Resize::whole(3), 53);
        assert!(later.resident().is_none());
        for (index, colour) in [[10, 20, 30], [40, 50, 60]].into_iter().enumerate() {
            let expected = colour.repeat(9);
            let mut out = vec![0; 27];
            later.read(index, None, &mut out).unwrap();
            assert_eq!(out, expected);
            let resident = now.resident().unwrap();
            assert_eq!(resident[index * 27..(index + 1) * 27], expected);
            assert_eq!(now.label(index), later.label(index));
        }
    }

    #[test]
    #[should_panic(expected = "bytes of 2 images of 2 x 2")]
    fn bytes_and_labels_must_fit() {
        Images::new(2, vec![0; 12], vec![0, 1]);
    }
}
