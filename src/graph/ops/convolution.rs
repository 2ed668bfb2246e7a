//! Two-dimensional convolution (cross-correlation, no bias) and its two gradients.
//!
//! With x [N, H, W, I], w [KH, KW, I, O] and y [N, P, Q, O]:
//!
//! ```text
//! y[n,p,q,o]  = Σ r,s,i  x[n, p·stride+r−padding, q·stride+s−padding, i] · w[r,s,i,o]
//! dx[n,h,w,i] = Σ r,s,o  dy[n, (h+padding−r)/stride, (w+padding−s)/stride, o] · w[r,s,i,o]
//! dw[r,s,i,o] = Σ n,p,q  x[n, p·stride+r−padding, q·stride+s−padding, i] · dy[n,p,q,o]
//! ```
//!
//! where indices outside an image, or fractional ones, contribute nothing.
//!
//! Optionally x is normalised when it is loaded ([`Normalize`]; the padding stays zero), or y
//! before it is stored, so that the intermediate activation is never stored.

use super::super::Tensor;
use super::batch_norm::numbers;
use super::{Draw, Normalize, Window, nhwc, require};
use crate::shape::{Layout, Shape};

/// Visits the products in runs along O: flat index into x, first flat indices into w and y.
pub(super) fn for_each_product(
    window: Window,
    [n, h, w, i]: [usize; 4],
    [kh, kw]: [usize; 2],
    [p, q, o]: [usize; 3],
    mut visit: impl FnMut(usize, usize, usize),
) {
    for n in 0..n {
        for p_at in 0..p {
            for q_at in 0..q {
                let y = ((n * p + p_at) * q + q_at) * o;
                for r in 0..kh {
                    let Some(h_at) = window.input_index(p_at, r, h) else {
                        continue;
                    };
                    for s in 0..kw {
                        let Some(w_at) = window.input_index(q_at, s, w) else {
                            continue;
                        };
                        let x = ((n * h + h_at) * w + w_at) * i;
                        for i_at in 0..i {
                            visit(x + i_at, ((r * kw + s) * i + i_at) * o, y);
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn check(window: Window, x: &Shape, kernel: [usize; 2]) -> Result<[usize; 4], String> {
    let x = nhwc(x)?;
    require(window.stride > 0 && kernel[0] > 0 && kernel[1] > 0, || {
        "stride and kernel must be positive".to_owned()
    })?;
    for (extent, kernel) in [(x[1], kernel[0]), (x[2], kernel[1])] {
        require(extent + 2 * window.padding >= kernel, || {
            format!(
                "an extent of {extent} with padding {} is smaller than the kernel of {kernel}",
                window.padding
            )
        })?;
    }
    Ok(x)
}

pub(super) fn weights(shape: &Shape) -> Result<[usize; 4], String> {
    require(shape.layout == Layout::Weights, || {
        format!("needs weights [KH, KW, I, O], not {shape}")
    })?;
    nhwc(shape)
}

pub(super) fn flops(weights: &Shape, pixels: usize) -> u64 {
    2 * weights.len() as u64 * pixels as u64
}

/// The input normalisation of some samples, with its operands (moments and affine).
pub(super) fn sample_normalization(
    draw: &mut Draw,
    number: usize,
    x: &Tensor,
) -> Option<(Normalize, [Tensor; 2])> {
    let (_, moments, affine) = numbers(draw, &x.shape.dims, false);
    let normalize = Normalize {
        epsilon: 1e-5,
        batch: number == 2,
        relu: number.is_multiple_of(4),
    };
    let included = number.is_multiple_of(3) || number % 6 == 2;
    included.then_some((normalize, [moments, affine]))
}

/// Shapes of one sample.
pub(super) struct Case {
    pub(super) batch: usize,
    pub(super) size: [usize; 2],
    pub(super) channels: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) stride: usize,
    pub(super) padding: usize,
}

impl Case {
    pub(super) fn window(&self) -> Window {
        Window {
            stride: self.stride,
            padding: self.padding,
        }
    }

    pub(super) fn x(&self) -> Shape {
        let [h, w] = self.size;
        Shape::channels(&[self.batch, h, w, self.channels[0]])
    }

    pub(super) fn w(&self) -> Shape {
        let [kh, kw] = self.kernel;
        Shape::weights([kh, kw, self.channels[0], self.channels[1]])
    }

    pub(super) fn y(&self) -> Shape {
        let outputs = |axis: usize| self.window().outputs(self.size[axis], self.kernel[axis]);
        Shape::channels(&[self.batch, outputs(0), outputs(1), self.channels[1]])
    }
}

/// Extents of one, odd ones, ones larger than any tile, PyramidNet's widths; strides up to 3.
pub(super) fn cases() -> impl Iterator<Item = Case> {
    [
        (1, [1, 1], [1, 1], [1, 1], 1, 0),
        (1, [1, 1], [3, 10], [3, 3], 1, 1),
        (2, [7, 5], [3, 16], [3, 3], 1, 1),
        (3, [9, 9], [16, 17], [3, 3], 1, 1),
        (2, [8, 8], [17, 20], [3, 3], 2, 1),
        (1, [7, 7], [18, 21], [3, 3], 2, 1),
        (2, [6, 6], [5, 9], [1, 1], 2, 0),
        (1, [12, 11], [40, 47], [1, 1], 1, 0),
        (1, [15, 15], [3, 8], [7, 7], 2, 3),
        (5, [1, 1], [76, 100], [1, 1], 1, 0),
        (1, [33, 3], [4, 4], [3, 3], 1, 1),
        (1, [10, 8], [6, 7], [5, 4], 3, 2),
        (1, [4, 4], [130, 68], [3, 3], 1, 1),
        (5, [4, 3], [20, 36], [3, 3], 1, 1),
    ]
    .into_iter()
    .map(|(batch, size, channels, kernel, stride, padding)| Case {
        batch,
        size,
        channels,
        kernel,
        stride,
        padding,
    })
}
