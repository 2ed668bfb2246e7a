//! Element types, pixel formats, shapes, and the memory layout of a shape.
//!
//! Axes are named by letter: N images, H rows, W columns, C channels; convolution
//! weights are H W I O (kernel rows, kernel columns, input channels, output channels).
//! Memory is row-major over the *stored* extents, where channel axes are rounded up to a
//! multiple of [`LANES`], so that every kernel reads whole `vec4<f32>` and PyramidNet's
//! odd widths need no scalar tails.
//! Padding elements are always zero: every kernel relies on this and must preserve it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Channels are stored in groups of this many elements, one vector.
pub const LANES: usize = 4;

/// Element type in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision, for the storage of feature maps. Arithmetic is in single precision,
    /// except that matrix units multiply halves.
    F16,
    /// Labels, indices, packed bytes, bit patterns.
    U32,
}

impl DType {
    /// Size of an element in bytes.
    pub fn bytes(self) -> u64 {
        match self {
            DType::F16 => 2,
            DType::F32 | DType::U32 => 4,
        }
    }
}

/// How an image stores its pixels: rows from the top, pixels from the left, values R, G, B.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelFormat {
    /// A byte for each value, 0 to 255.
    #[default]
    U8,
    /// Four bytes for each value, little-endian single precision in the same unit. Values may
    /// exceed its range.
    F32,
}

impl PixelFormat {
    /// Bytes of an image of `size` x `size` pixels.
    pub fn image_bytes(self, size: usize) -> usize {
        let value = match self {
            PixelFormat::U8 => 1,
            PixelFormat::F32 => 4,
        };
        size * size * 3 * value
    }
}

/// Which axes are padded in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// No padding.
    Dense,
    /// The last axis is padded: NHWC activations, [N, C] features, `[C]` vectors.
    Channels,
    /// The last two axes are padded: HWIO weights.
    Weights,
    /// Partial results of a reduction: several slices of these extents, the last axis padded.
    /// The kernel that computes them determines their number; a [`Shape`] describes one slice.
    Slices,
}

/// Extents, element type and memory layout of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// True extents, without padding.
    pub dims: Vec<usize>,
    /// Element type.
    pub dtype: DType,
    /// Which axes are padded in memory.
    pub layout: Layout,
}

impl Shape {
    /// An `f32` tensor whose last axis is channels.
    pub fn channels(dims: &[usize]) -> Shape {
        Shape {
            dims: dims.to_vec(),
            dtype: DType::F32,
            layout: Layout::Channels,
        }
    }

    /// `f32` convolution weights [kernel rows, kernel columns, input channels, output channels].
    pub fn weights(dims: [usize; 4]) -> Shape {
        Shape {
            dims: dims.to_vec(),
            dtype: DType::F32,
            layout: Layout::Weights,
        }
    }

    /// `f32` partial results of a reduction, given the extents of one slice.
    pub fn slices(dims: &[usize]) -> Shape {
        Shape {
            dims: dims.to_vec(),
            dtype: DType::F32,
            layout: Layout::Slices,
        }
    }

    /// An unpadded `f32` tensor.
    pub fn dense(dims: &[usize]) -> Shape {
        Shape {
            dims: dims.to_vec(),
            dtype: DType::F32,
            layout: Layout::Dense,
        }
    }

    /// An unpadded `u32` tensor.
    pub fn indices(dims: &[usize]) -> Shape {
        Shape {
            dims: dims.to_vec(),
            dtype: DType::U32,
            layout: Layout::Dense,
        }
    }

    /// Number of true elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether the shape has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Extents in memory, padding included.
    pub fn stored_dims(&self) -> Vec<usize> {
        let padded = match self.layout {
            Layout::Dense => 0,
            Layout::Channels | Layout::Slices => 1,
            Layout::Weights => 2,
        };
        let first = self.dims.len().saturating_sub(padded);
        let pad = |(axis, &extent): (usize, &usize)| match axis >= first {
            true => extent.next_multiple_of(LANES),
            false => extent,
        };
        self.dims.iter().enumerate().map(pad).collect()
    }

    /// Number of elements in memory.
    pub fn stored_len(&self) -> usize {
        self.stored_dims().iter().product()
    }

    /// Size in memory in bytes, padding included.
    pub fn bytes(&self) -> u64 {
        let extents = self.stored_dims().into_iter();
        let bytes = self.dtype.bytes() * extents.map(|extent| extent as u64).product::<u64>();
        match self.dtype {
            DType::F32 | DType::U32 => bytes,
            // At least one `vec4<f32>`: kernels may bind this buffer as a placeholder for an `f32`
            // operand that they do not read.
            DType::F16 => bytes.max(16),
        }
    }

    /// The same shape with the element type in which kernels compute: `f32` for `f16`.
    pub fn computed(&self) -> Shape {
        let dtype = match self.dtype {
            DType::F16 => DType::F32,
            other => other,
        };
        Shape {
            dtype,
            ..self.clone()
        }
    }

    /// The last extent.
    ///
    /// # Panics
    /// If the shape has no axes, which no operator produces.
    pub fn last(&self) -> usize {
        *self.dims.last().expect("a tensor has at least one axis")
    }

    /// Product of all extents but the last: the rows of the tensor viewed as a matrix.
    pub fn rows(&self) -> usize {
        self.len() / self.last().max(1)
    }

    /// Copies true elements into the memory layout; padding becomes `T::default()`.
    ///
    /// # Panics
    /// If `values` does not have [`Shape::len`] elements.
    pub fn pack<T: Copy + Default>(&self, values: &[T]) -> Vec<T> {
        assert_eq!(values.len(), self.len(), "shape {self}");
        let mut stored = vec![T::default(); self.stored_len()];
        self.for_each_run(|true_at, stored_at, run| {
            stored[stored_at..stored_at + run].copy_from_slice(&values[true_at..true_at + run]);
        });
        stored
    }

    /// Copies true elements out of the memory layout; the inverse of [`Shape::pack`].
    ///
    /// # Panics
    /// If `stored` does not have [`Shape::stored_len`] elements.
    pub fn unpack<T: Copy + Default>(&self, stored: &[T]) -> Vec<T> {
        assert_eq!(stored.len(), self.stored_len(), "shape {self}");
        let mut values = vec![T::default(); self.len()];
        self.for_each_run(|true_at, stored_at, run| {
            values[true_at..true_at + run].copy_from_slice(&stored[stored_at..stored_at + run]);
        });
        values
    }

    /// Visits the runs along the last axis: start without padding, start in memory, length.
    fn for_each_run(&self, mut visit: impl FnMut(usize, usize, usize)) {
        if self.is_empty() {
            return;
        }
        let stored = self.stored_dims();
        let run = self.last();
        let axes = self.dims.len();
        for row in 0..self.rows() {
            let mut rest = row;
            let mut stored_row = 0;
            let mut stride = 1;
            for axis in (0..axes - 1).rev() {
                stored_row += (rest % self.dims[axis]) * stride;
                rest /= self.dims[axis];
                stride *= stored[axis];
            }
            visit(row * run, stored_row * stored[axes - 1], run);
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::U32 => "u32",
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(usize::to_string).collect();
        write!(f, "{}[{}]", self.dtype, dims.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_pad_their_last_two_axes() {
        let shape = Shape::weights([1, 2, 3, 5]);
        assert_eq!(shape.stored_dims(), [1, 2, 4, 8]);
        let values: Vec<f32> = (1..=30).map(|i| i as f32).collect();
        let stored = shape.pack(&values);
        // Tap 1, input channel 2, output channel 4 is the last true element.
        assert_eq!(stored[(4 + 2) * 8 + 4], 30.0);
        assert_eq!(stored.iter().filter(|v| **v != 0.0).count(), 30);
        assert_eq!(shape.unpack(&stored), values);
    }

    #[test]
    fn vectors_pad_their_only_axis() {
        let shape = Shape::channels(&[5]);
        assert_eq!(shape.pack(&[1.0, 2.0, 3.0, 4.0, 5.0]).len(), 8);
        assert_eq!(shape.bytes(), 32);
    }
}
