//! Named tensors to and from files.
//!
//! A [`Checkpoint`] is a map from names to [`StoredTensor`]s plus a map of strings, independent
//! of networks and devices. Shapes are unpadded, as in other programs.
//! Everything works on bytes, so that the web page reads the same files; only `files` uses
//! the file system, and it exists natively only.
//!
//! - `safetensors`: the format of checkpoints, read and written.
//! - `header`: its header.
//! - `pytorch`, `torch7`, `caffe`: files of other programs, read.
//! - `layer_names`: names for the layers of the latter two.
//! - `names`: the prefixes that wrappers add to names.
//! - `formats`: which reader a file needs, and formats without one, by their first bytes.
//! - `npy`: single NumPy arrays, read for comparisons with other programs.
//! - `npz`: several of them in one file, written.
//! - `files`: reading with the path in every error, and atomic writing.
//!
//! Readers compare what a file says of lengths with its own, and execute nothing in it.
//! The prefixes that PyTorch's wrappers add to names, such as `module.`, are removed when read.
//! Half and double precision become `f32`. NaN and infinities are kept;
//! [`Checkpoint::check_finite`] finds them.

mod caffe;
mod error;
#[cfg(not(target_arch = "wasm32"))]
mod files;
mod formats;
mod header;
mod layer_names;
mod names;
mod npy;
#[cfg(not(target_arch = "wasm32"))]
mod npz;
mod pytorch;
mod safetensors;
mod torch7;

use std::collections::BTreeMap;
use std::io::{BufRead, Cursor, Seek};

use ::pytorch_reader::PytorchReader;

pub use error::{CheckpointError, limit_advice};
#[cfg(not(target_arch = "wasm32"))]
pub use files::{append, is_temporary, read_npy_file, write_atomically, writing_advice};
pub use npy::read_npy;
#[cfg(not(target_arch = "wasm32"))]
pub use npz::save_npz;

/// The values of a tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Single precision.
    F32(Vec<f32>),
    /// Integers: labels, counters.
    I64(Vec<i64>),
}

impl Values {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::I64(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Shape and values.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    shape: Vec<usize>,
    values: Values,
}

impl StoredTensor {
    /// A tensor of the given shape; a scalar's is empty.
    ///
    /// # Panics
    /// If the number of values is not the product of the extents.
    pub fn new(shape: Vec<usize>, values: Values) -> StoredTensor {
        let expected: usize = shape.iter().product();
        assert_eq!(values.len(), expected, "values of a tensor {shape:?}");
        StoredTensor { shape, values }
    }

    /// A single-precision tensor; see [`StoredTensor::new`].
    ///
    /// # Panics
    /// If the number of values is not the product of the extents.
    pub fn f32(shape: Vec<usize>, values: Vec<f32>) -> StoredTensor {
        StoredTensor::new(shape, Values::F32(values))
    }

    /// An integer tensor; see [`StoredTensor::new`].
    ///
    /// # Panics
    /// If the number of values is not the product of the extents.
    pub fn i64(shape: Vec<usize>, values: Vec<i64>) -> StoredTensor {
        StoredTensor::new(shape, Values::I64(values))
    }

    /// The extents of its axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its values, row-major.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The values of a single-precision tensor; `name` is for the error.
    ///
    /// # Errors
    /// If it holds integers.
    pub fn into_f32(self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        match self.values {
            Values::F32(values) => Ok(values),
            Values::I64(_) => Err(integers(name)),
        }
    }

    /// Its shape and values.
    pub fn into_parts(self) -> (Vec<usize>, Values) {
        (self.shape, self.values)
    }
}

/// Tensors by name, and the file's metadata.
///
/// ```
/// use pyr_wgpu::checkpoint::{Checkpoint, StoredTensor};
///
/// let mut checkpoint = Checkpoint::default();
/// checkpoint.tensors.insert("fc.bias".into(), StoredTensor::f32(vec![2], vec![0.5, -1.0]));
/// checkpoint.metadata.insert("made by".into(), "an example".into());
/// let bytes = checkpoint.to_bytes();
/// assert_eq!(Checkpoint::from_bytes(&bytes).unwrap(), checkpoint);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The tensors.
    pub tensors: BTreeMap<String, StoredTensor>,
    /// Strings by key.
    pub metadata: BTreeMap<String, String>,
    /// The format of the file that it was read from.
    pub format: Format,
    /// What reading left out, a sentence each.
    pub notes: Vec<String>,
}

/// A format of files of tensors, with what it tells about a network beside its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The format that is written.
    #[default]
    Safetensors,
    /// Pickles of PyTorch.
    PyTorch,
    /// `.t7` of Torch 7.
    Torch7 {
        /// Whether the max pooling of the stem rounds its extents up.
        ceil_mode: bool,
    },
    /// `.caffemodel` of Caffe.
    Caffe {
        /// As for Torch 7.
        ceil_mode: bool,
    },
}

impl Checkpoint {
    /// Reads a file of any format that can be read.
    ///
    /// # Errors
    /// If the bytes are in another format (named if recognised), damaged, or hold tensors that
    /// cannot be used.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::read(&mut Cursor::new(bytes), bytes.len() as u64, || {
            PytorchReader::from_bytes(bytes.to_vec(), None)
        })
    }

    /// Reads a file of `len` bytes; `pytorch` opens it as a file of PyTorch.
    fn read(
        reader: &mut (impl BufRead + Seek),
        len: u64,
        pytorch: impl FnOnce() -> Result<PytorchReader, pytorch_reader::PytorchError>,
    ) -> Result<Checkpoint, CheckpointError> {
        let start = reader.fill_buf().map_err(header::unreadable)?;
        match formats::reader(&start[..start.len().min(formats::START)]) {
            formats::Reader::PyTorch => {
                let other = formats::unrecognised_archive(start);
                pytorch::read(pytorch(), len).map_err(|error| match (error, other) {
                    (CheckpointError::PyTorch { .. }, Some((found, advice))) => {
                        CheckpointError::OtherFormat { found, advice }
                    }
                    (error, _) => error,
                })
            }
            formats::Reader::Torch7 => torch7::read(reader, len),
            formats::Reader::Caffe => caffe::read(reader, len),
            formats::Reader::Safetensors => safetensors::read(reader, len),
        }
    }

    /// Adds a tensor; `prefix` is what was removed from its name, for the error.
    ///
    /// # Errors
    /// If there is one of that name already.
    fn insert(
        &mut self,
        name: &str,
        prefix: &str,
        tensor: StoredTensor,
    ) -> Result<(), CheckpointError> {
        match self.tensors.insert(name.to_owned(), tensor) {
            None => Ok(()),
            Some(_) => Err(CheckpointError::DuplicateTensor {
                name: name.to_owned(),
                prefix: prefix.to_owned(),
            }),
        }
    }

    /// The shape of every tensor by name.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let pairs = self.tensors.iter();
        pairs
            .map(|(name, tensor)| (name.clone(), tensor.shape.clone()))
            .collect()
    }

    /// Checks that every value of every tensor is finite.
    ///
    /// # Errors
    /// The first tensor, by name, that holds NaN or infinity, with the first index and the count.
    pub fn check_finite(&self) -> Result<(), CheckpointError> {
        for (name, tensor) in &self.tensors {
            let Values::F32(values) = &tensor.values else {
                continue;
            };
            let Some((index, value)) = first_not_finite(values) else {
                continue;
            };
            return Err(CheckpointError::NotFinite {
                name: name.clone(),
                shape: tensor.shape.clone(),
                value,
                index,
                count: values.iter().filter(|value| !value.is_finite()).count(),
            });
        }
        Ok(())
    }
}

/// Number of elements of a tensor; `None` if it overflows.
fn elements(extents: &[usize]) -> Option<usize> {
    let mut extents = extents.iter();
    extents.try_fold(1usize, |product, extent| product.checked_mul(*extent))
}

/// The first value that is NaN or infinite, with its index.
pub fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    let mut values = values.iter().copied().enumerate();
    values.find(|(_, value)| !value.is_finite())
}

/// The error of a tensor that should hold real numbers.
fn integers(name: &str) -> CheckpointError {
    CheckpointError::TensorType {
        name: name.to_string(),
        found: "I64".to_string(),
        expected: error::FLOATS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Checkpoint {
        let mut sample = Checkpoint::default();
        let mut add = |name: &str, tensor| sample.tensors.insert(name.to_string(), tensor);
        add("b", StoredTensor::f32(vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        add("d", StoredTensor::i64(vec![], vec![7]));
        sample
    }

    #[test]
    fn tensors_have_shapes_and_types() {
        let mut sample = sample();
        assert_eq!(sample.shapes()["b"], [2, 2]);
        let mut values = |name: &str| sample.tensors.remove(name).unwrap().into_f32(name);
        assert_eq!(values("b").unwrap(), [1.0, 2.0, 3.0, 4.0]);
        let text = values("d").unwrap_err().to_string();
        assert!(text.contains("`d`") && text.contains("I64"), "{text}");
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_named() {
        let mut sample = sample();
        sample.check_finite().unwrap();
        let values = vec![0.0, f32::NAN, f32::INFINITY];
        sample
            .tensors
            .insert("c".into(), StoredTensor::f32(vec![3], values));
        let text = sample.check_finite().unwrap_err().to_string();
        assert!(text.contains("`c` [3]") && text.contains("NaN"), "{text}");
        assert!(text.contains("2 "), "{text}");
    }

    #[test]
    #[should_panic(expected = "values of a tensor [2, 3]")]
    fn a_tensor_has_as_many_values_as_its_extents_say() {
        StoredTensor::f32(vec![2, 3], vec![0.0; 5]);
    }
}
