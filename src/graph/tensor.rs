//! Values of the reference: true elements only, real numbers in double precision.

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

/// A shape with its true elements, row-major, without padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Extents.
    pub shape: Shape,
    /// Elements.
    pub data: Data,
}

impl Tensor {
    /// A tensor of real numbers.
    ///
    /// # Panics
    /// If shape and element count disagree.
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
    /// If shape and element count disagree.
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
    /// On indices: the operators' shape rules exclude it.
    pub fn values(&self) -> &[f64] {
        match &self.data {
            Data::Real(values) => values,
            Data::Index(_) => panic!("{} holds indices, not real numbers", self.shape),
        }
    }

    /// The indices.
    ///
    /// # Panics
    /// On real numbers: the operators' shape rules exclude it.
    pub fn indices(&self) -> &[u32] {
        match &self.data {
            Data::Index(values) => values,
            Data::Real(_) => panic!("{} holds real numbers, not indices", self.shape),
        }
    }

    /// The same numbers as a value of this shape holds them: rounded where it is `f16`.
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

    /// Memory image as a device holds lasting values: padded, four bytes an element.
    pub fn to_words(&self) -> Vec<u32> {
        match &self.data {
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
    /// If the number of words is not that of the shape.
    pub fn from_words(shape: &Shape, words: &[u32]) -> Tensor {
        let values = shape.unpack(words);
        let data = match shape.dtype {
            DType::F32 | DType::F16 => Data::Real(
                values
                    .iter()
                    .map(|bits| f64::from(f32::from_bits(*bits)))
                    .collect(),
            ),
            DType::U32 => Data::Index(values),
        };
        Tensor {
            shape: shape.clone(),
            data,
        }
    }
}
