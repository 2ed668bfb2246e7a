//! Datasets: from bytes on disk to images and labels.
//!
//! - [`open`] turns a [`Request`] into a [`Dataset`]: class names, constants and two [`Source`]s.
//! - A [`Source`] is a sequence of square RGB images of one size. In memory it is [`Images`],
//!   which a device may hold as a whole; otherwise images are decoded when they are read.
//! - [`Loader`] reads batches from a source ahead of their use.
//! - [`Resize`] is the geometric half of preprocessing: how an image of any extents becomes the
//!   square input of the network. Every dataset applies it, and so does [`decode_image`], which
//!   does for one image what opening a folder does for many.
//!
//! The table of `datasets` has a row for each dataset: its name, its manifest (`manifest`: what is
//! published about it, and the recipe's defaults), and its reader. The readers are `shapes` (drawn
//! by the program), `cifar` (the published binary files), `folder` (image files, which
//! `formats` tells from others; `image_files` reads those that exceed memory or are decoded again
//! in each epoch, `unreadable` counts those that cannot be read, and `unused` lists what is no part
//! of the dataset) and `imagenet` (a folder with names for its classes). `augment` is the random
//! stage of ImageNet's recipe ([`Augmentation`]). `decode` and `resize` produce pixels of the
//! network's size, `statistics` measures mean and deviation where none are published. `names` makes names of classes and files fit to print.
//! [`inspect_folder`] looks for faults in a folder before it is used, and [`write_grid`] writes
//! images side by side as PNG.
//!
//! Padding, the crop after it, flipping and normalising happen on the device, and images stay bytes
//! unless they are augmented here, so this room depends on neither the network nor training; a
//! manifest's recipe is plain data. It does not download or unpack anything. Files and threads exist
//! natively only; drawing, decoding and the loader's interface exist in the browser too.

#[cfg(not(target_arch = "wasm32"))]
mod augment;
#[cfg(not(target_arch = "wasm32"))]
mod cifar;
mod datasets;
mod decode;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(not(target_arch = "wasm32"))]
mod formats;
#[cfg(not(target_arch = "wasm32"))]
mod grid;
#[cfg(not(target_arch = "wasm32"))]
mod image_files;
#[cfg(not(target_arch = "wasm32"))]
mod imagenet;
mod images;
mod loader;
mod manifest;
#[cfg(not(target_arch = "wasm32"))]
mod names;
mod resize;
pub mod shapes;
#[cfg(not(target_arch = "wasm32"))]
mod statistics;
#[cfg(not(target_arch = "wasm32"))]
mod unreadable;
#[cfg(not(target_arch = "wasm32"))]
mod unused;

#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::rng::{Purpose, Stream};
use crate::shape::PixelFormat;

#[cfg(not(target_arch = "wasm32"))]
pub use cifar::read_records;
pub use datasets::DatasetKind;
#[cfg(not(target_arch = "wasm32"))]
pub use decode::decode_image_file;
pub use decode::{DECODE_MEMORY, LARGEST_FILE, decode_image, decode_memory, fit_pixels};
pub use error::DataError;
#[cfg(not(target_arch = "wasm32"))]
pub use folder::{Example, Finding, FindingKind, InspectedPart, Inspection, inspect_folder};
#[cfg(not(target_arch = "wasm32"))]
pub use formats::is_named_as_image;
#[cfg(not(target_arch = "wasm32"))]
pub use grid::write_grid;
pub use images::Images;
pub use loader::{Batch, Loader};
pub use manifest::{Archive, Constants, Manifest, Published, RecipeDefaults, RecordFile};
#[cfg(not(target_arch = "wasm32"))]
pub use names::{find_alike, spell_apart};
pub use resize::{Resampling, Resize, Views};
#[cfg(not(target_arch = "wasm32"))]
pub use statistics::{MEASURED, fingerprint};

/// Where training images are cropped, and what else changes at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Augmentation {
    /// On the device, that of the recipe for CIFAR: padding, a crop at a random offset, a flip.
    #[default]
    Crop,
    /// Where images are decoded, that of the recipe for ImageNet (Torch's `fb.resnet.torch`): a crop
    /// of random area and aspect ratio, changes of brightness, contrast, saturation and lighting;
    /// and a flip on the device.
    ImageNet,
}

impl Augmentation {
    const ALL: [(Augmentation, &str); 2] = [
        (Augmentation::Crop, "crop"),
        (Augmentation::ImageNet, "imagenet"),
    ];

    /// Whether it is the default.
    pub fn is_crop(&self) -> bool {
        *self == Augmentation::Crop
    }
}

impl FromStr for Augmentation {
    type Err = String;

    fn from_str(text: &str) -> Result<Augmentation, String> {
        let found = Augmentation::ALL.iter().find(|(_, word)| *word == text);
        let found = found.map(|(augmentation, _)| *augmentation);
        found.ok_or_else(|| "it is crop or imagenet".to_owned())
    }
}

/// Files that only save time, such as listings of large folders: they may be lost, and writing
/// them may fail.
pub trait Cache: Send + Sync {
    /// The bytes that were written; nothing if they are lost or damaged.
    fn read(&self, name: &str) -> Option<Vec<u8>>;

    /// Writes a file, if possible.
    fn write(&self, name: &str, bytes: &[u8]);
}

/// Decoded images stay in memory if the parts that are opened take at most this many bytes.
pub const HOST_LIMIT: u64 = 1 << 30;

/// The key of the random numbers of a source's random stage, such as a random crop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochKey {
    /// The seed of the run.
    pub seed: u64,
    /// The epoch.
    pub epoch: u32,
}

impl EpochKey {
    /// The random numbers of a sample for a purpose, independent of the batch and of the thread
    /// that reads it.
    pub fn stream(self, purpose: Purpose, sample: usize) -> Stream {
        let sample = u32::try_from(sample).expect("datasets have at most 2^32 images");
        Stream::new(self.seed, purpose, sample, self.epoch)
    }

    /// The order in which training reads so many images in the epoch.
    ///
    /// # Panics
    /// If there are more than 2^32.
    pub fn order(self, images: usize) -> Vec<u32> {
        Stream::new(self.seed, Purpose::Shuffle, self.epoch, 0).permutation(images)
    }
}

/// A sequence of square RGB images of one size, with labels.
///
/// Reading the same index with the same key gives the same bytes every time, whichever thread
/// reads and in whatever order.
pub trait Source: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image; never so for sources from [`open`].
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of an image, an index into [`Dataset::classes`].
    ///
    /// # Panics
    /// If there is no such image.
    fn label(&self, index: usize) -> u32;

    /// N: images are N x N.
    fn size(&self) -> u32;

    /// V: number of views of an image, as [`Views::count`] says.
    fn views(&self) -> usize {
        1
    }

    /// The format of images that are read with a key, if `augmented`, or without one.
    fn pixels(&self, _augmented: bool) -> PixelFormat {
        PixelFormat::U8
    }

    /// Writes the views of an image to `out`, V times N x N pixels in the format
    /// [`Source::pixels`].
    ///
    /// A source with a random stage draws from `key`; without a key, as in evaluation, it writes
    /// the image as [`Resize`] produces it, in bytes. Other sources ignore the key.
    ///
    /// # Errors
    /// If the image cannot be read and no other image can replace it.
    ///
    /// # Panics
    /// If there is no such image, or `out` is of another length.
    fn read(&self, index: usize, key: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError>;

    /// Whether the image is known to be damaged, at the latest after it was read: another image of
    /// its class was written in its place. Training uses that, evaluation leaves it out.
    fn is_damaged(&self, _: usize) -> bool {
        false
    }

    /// The file of an image; `None` where a file holds many.
    ///
    /// # Panics
    /// If there is no such image.
    fn path(&self, _: usize) -> Option<PathBuf> {
        None
    }

    /// All images back to back, if they are in memory and no key changes them.
    fn resident(&self) -> Option<&[u8]>;

    /// Notes for the user on the images read so far, such as damaged files that were replaced.
    /// Notes from opening are in [`Dataset::notes`].
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An opened dataset.
pub struct Dataset {
    /// Class names by label.
    pub classes: Vec<String>,
    /// Mean per channel (R, G, B) on the scale 0..255; see [`Dataset::std`].
    pub mean: [f32; 3],
    /// Standard deviation per channel on the scale 0..255.
    ///
    /// The published constants, if there are any. For a folder both are measured on the training
    /// images, or on the test images if only those were opened; the evaluation of a trained
    /// network uses the constants it was trained with instead.
    pub std: [f32; 3],
    /// The training images, if requested.
    pub train: Option<Arc<dyn Source>>,
    /// The test images.
    pub test: Arc<dyn Source>,
    /// The folders of image files: of the parts, and of their classes. Whatever is written there
    /// becomes a part of the dataset.
    pub folders: Vec<PathBuf>,
    /// Notes for the user, such as files that were skipped.
    pub notes: Vec<String>,
}

impl Dataset {
    /// Notes for the user on what was found while images were read.
    pub fn reading_notes(&self) -> Vec<String> {
        let sources = self.train.iter().chain([&self.test]);
        sources.flat_map(|source| source.notes()).collect()
    }
}

/// Which dataset to open, and how to resize its images.
#[derive(Clone)]
pub struct Request {
    /// Which dataset.
    pub kind: DatasetKind,
    /// Where its files are; [`DatasetKind::Shapes`] has none.
    pub dir: Option<PathBuf>,
    /// How images of another size become N x N.
    pub resize: Resize,
    /// Whether to open the training images as well.
    pub need_train: bool,
    /// How training images that are read with a key are augmented;
    /// [`Augmentation::ImageNet`] needs [`DatasetKind::has_image_files`].
    pub augmentation: Augmentation,
    /// Where listings of large folders are kept, if anywhere.
    pub cache: Option<Arc<dyn Cache>>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Request {
    /// The directory of a dataset of files; `expected` says what should be in it.
    fn directory(&self, title: String, expected: &str) -> Result<&Path, DataError> {
        let expected = expected.to_string();
        let Some(path) = &self.dir else {
            return Err(DataError::NoDirectory { title, expected });
        };
        let source = match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(path),
            Ok(_) => std::io::ErrorKind::NotADirectory.into(),
            Err(source) => source,
        };
        let path = path.clone();
        Err(match source.kind() {
            std::io::ErrorKind::NotFound => DataError::MissingDirectory { path, expected },
            _ => DataError::Io { path, source },
        })
    }
}

/// Opens a dataset.
///
/// # Errors
/// If the files are missing, damaged, or not a dataset; the error states what was expected.
#[cfg(not(target_arch = "wasm32"))]
pub fn open(request: &Request) -> Result<Dataset, DataError> {
    open_checked(request, |_| Ok(()))
}

/// As [`open`]; `check` may refuse the dataset before it is measured, which reads many images. Mean
/// and deviation are unknown then, unless they are published.
///
/// # Errors
/// As [`open`], and those of `check`.
#[cfg(not(target_arch = "wasm32"))]
pub fn open_checked(
    request: &Request,
    check: impl FnOnce(&Dataset) -> Result<(), DataError>,
) -> Result<Dataset, DataError> {
    let mut manifest = request.kind.manifest();
    let is_measured = request.kind.has_image_files() && manifest.constants.is_none();
    if is_measured {
        manifest.constants = Some(Constants {
            mean: [0.0; 3],
            std: [1.0; 3],
        });
    }
    let mut dataset = request.kind.opener()(manifest, request)?;
    check(&dataset)?;
    if is_measured {
        let source = dataset.train.as_deref().unwrap_or(&*dataset.test);
        (dataset.mean, dataset.std) = statistics::measure(source)?;
    }
    Ok(dataset)
}
