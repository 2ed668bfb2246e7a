//! Lowering of the gradient of a convolution by its weights: see [`super::convolution`].

pub(super) use super::convolution::lower_weights as lower;
