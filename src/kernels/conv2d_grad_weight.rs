//! Lowering of the weight gradient of a convolution: see [`super::convolution`].

pub(super) use super::convolution::lower_weights as lower;
