//! Batch-norm coefficients, shared by normalisation and its gradients.

use pulp::Simd;

use super::columns::{Columns, vectors};

/// Batch-norm coefficients of each channel, repeated over a block.
pub(super) struct Channels {
    pub(super) columns: Columns,
    pub(super) mean: Vec<f32>,
    /// 1 / standard deviation.
    pub(super) inverse: Vec<f32>,
    /// Scale / standard deviation.
    pub(super) factor: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

impl Channels {
    pub(super) fn new(channels: usize, moments: &[f32], affine: &[f32], epsilon: f32) -> Channels {
        let columns = Columns::new(channels);
        let inverse = |c: usize| 1.0 / (moments[channels + c] + epsilon).sqrt();
        Channels {
            columns,
            mean: columns.repeat(|c| moments[c]),
            inverse: columns.repeat(inverse),
            factor: columns.repeat(|c| affine[c] * inverse(c)),
            shift: columns.repeat(|c| affine[channels + c]),
        }
    }
}

/// The normalised value before ReLU. The backward pass must reproduce its sign.
#[inline(always)]
fn normalized(x: f32, mean: f32, factor: f32, shift: f32) -> f32 {
    (x - mean) * factor + shift
}

/// Normalises some rows.
#[inline(always)]
pub(super) fn normalize_part(channels: &Channels, relu: bool, y: &mut [f32], x: &[f32]) {
    match relu {
        true => normalize_rows::<true>(channels, y, x),
        false => normalize_rows::<false>(channels, y, x),
    }
}

#[inline(always)]
fn normalize_rows<const RELU: bool>(channels: &Channels, y: &mut [f32], x: &[f32]) {
    let block = channels.columns.block;
    for (y, x) in y.chunks_mut(block).zip(x.chunks(block)) {
        let numbers = y.iter_mut().zip(x).zip(&channels.mean);
        let numbers = numbers.zip(&channels.factor).zip(&channels.shift);
        for ((((y, x), mean), factor), shift) in numbers {
            let number = normalized(*x, *mean, *factor, *shift);
            // Not `max`, which would hide a NaN.
            *y = if RELU && number < 0.0 { 0.0 } else { number };
        }
    }
}

/// Normalises cached rows of a convolution's input or output in place.
#[inline(always)]
pub(super) fn normalize_in_place(channels: &Channels, relu: bool, y: &mut [f32]) {
    for y in y.chunks_mut(channels.columns.block) {
        let numbers = y.iter_mut().zip(&channels.mean);
        let numbers = numbers.zip(&channels.factor).zip(&channels.shift);
        for (((y, mean), factor), shift) in numbers {
            let number = normalized(*y, *mean, *factor, *shift);
            *y = if relu && number < 0.0 { 0.0 } else { number };
        }
    }
}

/// dy where ReLU passed the normalised value, else 0; and x minus its mean.
#[inline(always)]
pub(super) fn masked<S: Simd>(
    simd: S,
    channels: &Channels,
    relu: bool,
    at: usize,
    [x, dy]: [S::f32s; 2],
) -> [S::f32s; 2] {
    let centred = simd.sub_f32s(x, vectors::<S>(&channels.mean)[at]);
    if !relu {
        return [dy, centred];
    }
    // The same operations as in `normalized`, so that both round alike.
    let value = simd.mul_f32s(centred, vectors::<S>(&channels.factor)[at]);
    let value = simd.add_f32s(value, vectors::<S>(&channels.shift)[at]);
    let zero = simd.splat_f32s(0.0);
    let off = simd.less_than_or_equal_f32s(value, zero);
    [simd.select_f32s(off, zero, dy), centred]
}
