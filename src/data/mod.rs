//! Datasets: from bytes on disk to 8-bit images and labels.
//!
//! - [`open`] turns a [`Request`] into a [`Dataset`]: names, constants and two [`Source`]s.
//! - A [`Source`] is a row of square RGB images of one size. In memory it is [`Images`],
//!   and the GPU may take all of it at once; else images are decoded when they are read.
//! - [`Loader`] reads batches from a source ahead of their use.
//! - [`decode_image`] does for one image what opening a folder does for many.
//!
//! The formats: `shapes` (drawn by the program), `cifar` (the published binary files), `folder`
//! (image files; those too many for memory in `image_files`, the tally of those that are no
//! images in `unreadable`). What is published about a dataset is in `manifest`. `decode` and `resize` make pixels of the network's size,
//! `statistics` measures mean and deviation where none is published.
//!
//! Images stay bytes here: cropping, flipping and normalising happen on the GPU, so the room
//! knows neither the network nor the recipe, only the size N. It does not fetch or unpack
//! anything. Files and threads exist natively alone; drawing, decoding and the loader's
//! interface exist in the browser too.

#[cfg(not(target_arch = "wasm32"))]
mod cifar;
mod decode;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
#[cfg(not(target_arch = "wasm32"))]
mod image_files;
mod images;
mod loader;
mod manifest;
mod parallel;
mod resize;
pub mod shapes;
#[cfg(not(target_arch = "wasm32"))]
mod statistics;
#[cfg(not(target_arch = "wasm32"))]
mod unreadable;

use std::convert::Infallible;
use std::fmt;
#[cfg(not(target_arch = "wasm32"))]
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

pub use decode::{decode_image, fit_pixels};
pub use error::DataError;
pub use images::Images;
pub use loader::{Batch, Loader};
pub use manifest::{Archive, Manifest, Published, RecordFile};
pub use resize::Crop;

/// Decoded images stay in memory if the parts that are opened take at most this many bytes.
pub const RESIDENT_LIMIT: u64 = 1 << 30;

/// A row of square RGB images of one size, with labels.
///
/// Reading the same index gives the same bytes every time, whoever reads and in whatever order.
pub trait Source: Send + Sync {
    /// Number of images.
    fn len(&self) -> usize;

    /// Whether there is no image; sources that [`open`] gives always have some.
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

    /// Writes an image to `out`, N·N·3 bytes: rows from the top, pixels from the left,
    /// bytes R, G, B.
    ///
    /// # Errors
    /// If the image cannot be read and nothing can take its place.
    ///
    /// # Panics
    /// If there is no such image, or `out` is of another length.
    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError>;

    /// All images back to back, if they are in memory.
    fn resident(&self) -> Option<&[u8]>;

    /// What the user should know about what was read so far, such as files that turned out
    /// damaged and were replaced. What opening found is in [`Dataset::notes`].
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// An opened dataset.
pub struct Dataset {
    /// The name on the command line.
    pub name: String,
    /// Class names by label.
    pub classes: Vec<String>,
    /// Mean per channel (R, G, B) on the scale 0..255; see [`Dataset::std`].
    pub mean: [f32; 3],
    /// Standard deviation per channel on the scale 0..255.
    ///
    /// Published constants where there are some. For a folder both are measured on the
    /// training part, or on the test part if only that was opened; who evaluates a trained
    /// network takes the constants it was trained with.
    pub std: [f32; 3],
    /// The training part, if it was asked for.
    pub train: Option<Arc<dyn Source>>,
    /// The test part.
    pub test: Arc<dyn Source>,
    /// What the user should know, such as files that were skipped.
    pub notes: Vec<String>,
}

/// The datasets there are.
///
/// ```
/// use pyr_wgpu::data::DatasetKind;
///
/// assert_eq!("cifar10".parse::<DatasetKind>().unwrap(), DatasetKind::Cifar10);
/// assert_eq!(DatasetKind::Folder.to_string(), "folder");
/// let error = "cifar".parse::<DatasetKind>().unwrap_err().to_string();
/// assert!(error.contains("`cifar`") && error.contains("cifar100"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetKind {
    /// Drawn by the program.
    Shapes,
    /// CIFAR-10, binary files.
    Cifar10,
    /// CIFAR-100 with its fine labels, binary files.
    Cifar100,
    /// Any folder of images.
    Folder,
}

impl DatasetKind {
    /// Every dataset.
    pub const ALL: [DatasetKind; 4] = [
        DatasetKind::Shapes,
        DatasetKind::Cifar10,
        DatasetKind::Cifar100,
        DatasetKind::Folder,
    ];
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DatasetKind::Shapes => "shapes",
            DatasetKind::Cifar10 => "cifar10",
            DatasetKind::Cifar100 => "cifar100",
            DatasetKind::Folder => "folder",
        })
    }
}

impl FromStr for DatasetKind {
    type Err = DataError;

    fn from_str(name: &str) -> Result<DatasetKind, DataError> {
        let found = DatasetKind::ALL
            .into_iter()
            .find(|kind| kind.to_string() == name);
        found.ok_or_else(|| DataError::UnknownDataset {
            name: name.to_string(),
        })
    }
}

/// What to open, and how large the images should be.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug)]
pub struct Request {
    /// Which dataset.
    pub kind: DatasetKind,
    /// Where its files are; [`DatasetKind::Shapes`] has none.
    pub dir: Option<PathBuf>,
    /// N: images become N x N.
    pub image_size: u32,
    /// How images of another size become N x N.
    pub crop: Crop,
    /// Whether to open the training part as well.
    pub need_train: bool,
}

/// Opens a dataset.
///
/// # Errors
/// If the files are missing, damaged, or do not make a dataset; each says what was expected.
#[cfg(not(target_arch = "wasm32"))]
pub fn open(request: &Request) -> Result<Dataset, DataError> {
    let Request {
        image_size,
        crop,
        need_train,
        ..
    } = *request;
    let dir = request.dir.as_deref();
    match request.kind {
        DatasetKind::Shapes => Ok(open_shapes(image_size, crop, need_train)),
        DatasetKind::Cifar10 => cifar::open(Manifest::cifar10(), dir, image_size, crop, need_train),
        DatasetKind::Cifar100 => {
            cifar::open(Manifest::cifar100(), dir, image_size, crop, need_train)
        }
        DatasetKind::Folder => folder::open(dir, image_size, crop, need_train, RESIDENT_LIMIT),
    }
}

/// Draws the dataset `shapes` at its own size and brings it to `image_size`. Works everywhere.
///
/// ```
/// use pyr_wgpu::data::{Crop, open_shapes};
///
/// let shapes = open_shapes(32, Crop::Shorter, false);
/// let mut image = vec![0; 32 * 32 * 3];
/// shapes.test.read(0, &mut image).unwrap();
/// assert!(shapes.test.label(0) < shapes.classes.len() as u32);
/// ```
pub fn open_shapes(image_size: u32, crop: Crop, need_train: bool) -> Dataset {
    Dataset {
        name: DatasetKind::Shapes.to_string(),
        classes: shapes::CLASSES.map(String::from).to_vec(),
        mean: shapes::MEAN,
        std: shapes::STD,
        train: need_train
            .then(|| draw_shapes(shapes::Part::Train, shapes::TRAIN).resized(image_size, crop)),
        test: draw_shapes(shapes::Part::Test, shapes::TEST).resized(image_size, crop),
        notes: Vec::new(),
    }
}

/// Draws the first `count` images of a part.
fn draw_shapes(part: shapes::Part, count: u32) -> Images {
    let length = images::image_bytes(shapes::SIZE);
    let mut bytes = vec![0; count as usize * length];
    let mut labels = vec![0; count as usize];
    let slots = bytes.chunks_exact_mut(length).zip(&mut labels);
    let drawn: Result<(), Infallible> =
        parallel::try_for_each((0..).zip(slots), |(index, (slot, label))| {
            let (image, class) = shapes::draw(part, index);
            slot.copy_from_slice(&image);
            *label = class;
            Ok(())
        });
    let Ok(()) = drawn;
    Images::new(shapes::SIZE, bytes, labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_opened_in_the_order_they_are_drawn() {
        let data = open_shapes(shapes::SIZE, Crop::Shorter, false);
        assert!(data.train.is_none());
        assert_eq!(data.test.len(), shapes::TEST as usize);
        let mut found = vec![0; data.test.resident().unwrap().len() / data.test.len()];
        for index in [0, 1, 777, shapes::TEST - 1] {
            let (image, label) = shapes::draw(shapes::Part::Test, index);
            data.test.read(index as usize, &mut found).unwrap();
            assert!(found == image && data.test.label(index as usize) == label);
        }
    }
}
