//! Datasets: from bytes on disk to 8-bit pictures and labels.
//!
//! - [`open`] turns a [`Request`] into a [`Dataset`]: names, constants and two [`Source`]s.
//! - A [`Source`] is a row of square RGB pictures of one size. In memory it is [`Pictures`],
//!   and the GPU may take all of it at once; else pictures are decoded when they are read.
//! - [`Loader`] reads batches from a source ahead of their use.
//! - [`decode_picture`] does for one picture what opening a folder does for many.
//!
//! The formats: `shapes` (drawn by the program), `cifar` (the published binary files), `folder`
//! (picture files; those too many for memory in `picture_files`, the tally of those that are no
//! pictures in `unreadable`). What is published about a dataset is in `manifest`. `decode` and `resize` make pixels of the network's size,
//! `statistics` measures mean and deviation where none is published.
//!
//! Pictures stay bytes here: cropping, flipping and normalising happen on the GPU, so the room
//! knows neither the network nor the recipe, only the size N. It does not fetch or unpack
//! anything. Files and threads exist natively alone; drawing, decoding and the loader's
//! interface exist in the browser too.

#[cfg(not(target_arch = "wasm32"))]
mod cifar;
mod decode;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod folder;
mod loader;
mod manifest;
mod parallel;
#[cfg(not(target_arch = "wasm32"))]
mod picture_files;
mod pictures;
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

pub use decode::{decode_picture, fit_pixels};
pub use error::DataError;
pub use loader::{Batch, Loader};
pub use manifest::{Archive, Manifest, Published, RecordFile};
pub use pictures::Pictures;
pub use resize::Crop;

/// Decoded pictures stay in memory if the parts that are opened take at most this many bytes.
pub const RESIDENT_LIMIT: u64 = 1 << 30;

/// A row of square RGB pictures of one size, with labels.
///
/// Reading the same index gives the same bytes every time, whoever reads and in whatever order.
pub trait Source: Send + Sync {
    /// Number of pictures.
    fn len(&self) -> usize;

    /// Whether there is no picture; sources that [`open`] gives always have some.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of a picture, an index into [`Dataset::classes`].
    ///
    /// # Panics
    /// If there is no such picture.
    fn label(&self, index: usize) -> u32;

    /// N: pictures are N x N.
    fn size(&self) -> u32;

    /// Writes a picture to `out`, N·N·3 bytes: rows from the top, pixels from the left,
    /// bytes R, G, B.
    ///
    /// # Errors
    /// If the picture cannot be read and nothing can take its place.
    ///
    /// # Panics
    /// If there is no such picture, or `out` is of another length.
    fn read(&self, index: usize, out: &mut [u8]) -> Result<(), DataError>;

    /// All pictures back to back, if they are in memory.
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
/// use pyr_wgpu::data::Kind;
///
/// assert_eq!("cifar10".parse::<Kind>().unwrap(), Kind::Cifar10);
/// assert_eq!(Kind::Folder.to_string(), "folder");
/// let error = "cifar".parse::<Kind>().unwrap_err().to_string();
/// assert!(error.contains("`cifar`") && error.contains("cifar100"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Drawn by the program.
    Shapes,
    /// CIFAR-10, binary files.
    Cifar10,
    /// CIFAR-100 with its fine labels, binary files.
    Cifar100,
    /// Any folder of pictures.
    Folder,
}

impl Kind {
    /// Every dataset.
    pub const ALL: [Kind; 4] = [Kind::Shapes, Kind::Cifar10, Kind::Cifar100, Kind::Folder];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Shapes => "shapes",
            Kind::Cifar10 => "cifar10",
            Kind::Cifar100 => "cifar100",
            Kind::Folder => "folder",
        })
    }
}

impl FromStr for Kind {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Kind, DataError> {
        let found = Kind::ALL.into_iter().find(|kind| kind.to_string() == name);
        found.ok_or_else(|| DataError::UnknownDataset {
            name: name.to_string(),
        })
    }
}

/// What to open, and how large the pictures should be.
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug)]
pub struct Request {
    /// Which dataset.
    pub kind: Kind,
    /// Where its files are; [`Kind::Shapes`] has none.
    pub dir: Option<PathBuf>,
    /// N: pictures become N x N.
    pub image_size: u32,
    /// How pictures of another size become N x N.
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
        Kind::Shapes => Ok(open_shapes(image_size, crop, need_train)),
        Kind::Cifar10 => cifar::open(Manifest::cifar10(), dir, image_size, crop, need_train),
        Kind::Cifar100 => cifar::open(Manifest::cifar100(), dir, image_size, crop, need_train),
        Kind::Folder => folder::open(dir, image_size, crop, need_train, RESIDENT_LIMIT),
    }
}

/// Draws the dataset `shapes` at its own size and brings it to `image_size`. Works everywhere.
///
/// ```
/// use pyr_wgpu::data::{Crop, open_shapes};
///
/// let shapes = open_shapes(32, Crop::Shorter, false);
/// let mut picture = vec![0; 32 * 32 * 3];
/// shapes.test.read(0, &mut picture).unwrap();
/// assert!(shapes.test.label(0) < shapes.classes.len() as u32);
/// ```
pub fn open_shapes(image_size: u32, crop: Crop, need_train: bool) -> Dataset {
    Dataset {
        name: Kind::Shapes.to_string(),
        classes: shapes::CLASSES.map(String::from).to_vec(),
        mean: shapes::MEAN,
        std: shapes::STD,
        train: need_train
            .then(|| draw_shapes(shapes::Part::Train, shapes::TRAIN).resized(image_size, crop)),
        test: draw_shapes(shapes::Part::Test, shapes::TEST).resized(image_size, crop),
        notes: Vec::new(),
    }
}

/// Draws the first `count` pictures of a part.
fn draw_shapes(part: shapes::Part, count: u32) -> Pictures {
    let length = pictures::picture_bytes(shapes::SIZE);
    let mut bytes = vec![0; count as usize * length];
    let mut labels = vec![0; count as usize];
    let slots = bytes.chunks_exact_mut(length).zip(&mut labels);
    let drawn: Result<(), Infallible> =
        parallel::try_for_each((0..).zip(slots), |(index, (slot, label))| {
            let (picture, class) = shapes::draw(part, index);
            slot.copy_from_slice(&picture);
            *label = class;
            Ok(())
        });
    let Ok(()) = drawn;
    Pictures::new(shapes::SIZE, bytes, labels)
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
            let (picture, label) = shapes::draw(shapes::Part::Test, index);
            data.test.read(index as usize, &mut found).unwrap();
            assert!(found == picture && data.test.label(index as usize) == label);
        }
    }
}
