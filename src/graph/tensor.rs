//! Tensors of the reference: unpadded, with real numbers in double precision.

use half::f16;

use crate::shape::{DType, Shape};

/// Elements of a [`Tensor`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Elements of an `f32` or `f16` tensor, held in double precision.
    Real(Vec<f64>),
    /// Elements of a `u32` tensor.
    Index(Vec<u32>),
}

/// A shape and its elements, row-major, without padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents, element type and layout in device memory.
    pub shape: Shape,
    /// Elements.
    pub data: Data,
}

impl Tensor {
    /// A tensor of real numbers.
    ///
    /// # Panics
    /// If the number of elements differs from the shape's, or its element type is `u32`.
    pub fn real(shape: Shape, values: Vec<f64>) -> Tensor {
        assert_eq!(shape.len(), values.len());
        assert_ne!(shape.dtype, DType::U32);
        Tensor {
            shape,
            data: Data::Real(values),
        }
    }

    /// A tensor of indices.
    ///
    /// # Panics
    /// If the number of elements differs from the shape's, or its element type is not `u32`.
    pub fn index(shape: Shape, values: Vec<u32>) -> Tensor {
        assert_eq!((shape.len(), shape.dtype), (values.len(), DType::U32));
        Tensor {
            shape,
            data: Data::Index(values),
        }
    }

    /// All zeros.
    pub fn zeros(shape: &Shape) -> Tensor {
        let data = match shape.dtype {
            DType::F32 | DType::F16 => Data::Real(vec![0.0; shape.len()]),
            DType::U32 => Data::Index(vec![0; shape.len()]),
        };
        Tensor {
            shape: shape.clone(),
            data,
        }
    }

    /// The real elements.
    ///
    /// # Panics
    /// If the tensor holds indices.
    pub fn values(&self) -> &[f64] {
        match &self.data {
            Data::Real(values) => values,
            Data::Index(_) => panic!("{} holds indices, not real numbers", self.shape),
        }
    }

    /// The indices.
    ///
    /// # Panics
    /// If the tensor holds real numbers.
    pub fn indices(&self) -> &[u32] {
        match &self.data {
            Data::Index(values) => values,
            Data::Real(_) => panic!("{} holds real numbers, not indices", self.shape),
        }
    }

    /// The tensor with this shape, its elements rounded if the element type is `f16`.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn stored_as(mut self, shape: &Shape) -> Tensor {
        assert_eq!(self.shape.len(), shape.len());
        if let (Data::Real(values), DType::F16) = (&mut self.data, shape.dtype) {
            for value in values {
                *value = f16::from_f64(*value).to_f64();
            }
        }
        self.shape = shape.clone();
        self
    }

    /// Contents of device memory: padded; a word holds one element, or two of `f16`.
    pub fn to_words(&self) -> Vec<u32> {
        match &self.data {
            Data::Real(values) if self.shape.dtype == DType::F16 => {
                let halves: Vec<u16> = values.iter().map(|v| f16::from_f64(*v).to_bits()).collect();
                let stored = self.shape.pack(&halves);
                let pairs = stored.chunks(2).map(|pair| {
                    let [low, high] = [0, 1].map(|at| pair.get(at).copied().unwrap_or(0));
                    u32::from(low) | u32::from(high) << 16
                });
                let mut words: Vec<u32> = pairs.collect();
                words.resize(self.shape.bytes() as usize / 4, 0);
                words
            }
            Data::Real(values) => {
                let bits: Vec<u32> = values.iter().map(|v| (*v as f32).to_bits()).collect();
                self.shape.pack(&bits)
            }
            Data::Index(values) => self.shape.pack(values),
        }
    }

    /// The inverse of [`Tensor::to_words`].
    ///
    /// # Panics
    /// If the number of words differs from the shape's.
    pub fn from_words(shape: &Shape, words: &[u32]) -> Tensor {
        assert_eq!(4 * words.len() as u64, shape.bytes(), "shape {shape}");
        let data = match shape.dtype {
            DType::F32 => {
                let values = shape.unpack(words).into_iter();
                Data::Real(values.map(|bits| f64::from(f32::from_bits(bits))).collect())
            }
            DType::F16 => {
                let halves = words
                    .iter()
                    .flat_map(|word| [*word as u16, (word >> 16) as u16]);
                let stored: Vec<u16> = halves.take(shape.stored_len()).collect();
                let values = shape.unpack(&stored).into_iter();
                Data::Real(values.map(|bits| f16::from_bits(bits).to_f64()).collect())
            }
            DType::U32 => Data::Index(shape.unpack(words)),
        };
        Tensor {
            shape: shape.clone(),
            data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_two_halves() {
        let shape = Shape {
            dtype: DType::F16,
            ..Shape::channels(&[1, 1, 2, 3])
        };
        let tensor = Tensor::real(shape.clone(), vec![1.0, -2.0, 0.5, 0.25, 1.5, -0.125]);
        let words = tensor.to_words();
        let expected = [0xc000_3c00, 0x3800, 0x3e00_3400, 0xb000];
        assert_eq!(words, expected);
        assert_eq!(Tensor::from_words(&shape, &words), tensor);
    }
}
