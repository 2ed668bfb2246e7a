//! Shared by max pooling and its gradient: the argmax indices and the sample cases.

use super::super::Tensor;
use super::Window;
use crate::shape::{DType, Shape};

/// Geometry of max pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// Height and width of the window.
    pub kernel: usize,
    /// Stride and padding.
    pub window: Window,
    /// Whether extents are rounded up, not down.
    pub ceil_mode: bool,
}

impl Pooling {
    /// Output extent for an input extent; the padded input must be at least as large as the kernel.
    pub fn outputs(self, input: usize) -> usize {
        match self.ceil_mode {
            true => self.window.outputs_rounded_up(input, self.kernel),
            false => self.window.outputs(input, self.kernel),
        }
    }
}

/// Shape of the argmax indices of a pooled shape.
pub(super) fn argmax_of(pooled: &Shape) -> Shape {
    Shape {
        dtype: DType::U32,
        ..pooled.clone()
    }
}

/// Maximum and argmax index of each of P by Q windows.
pub(super) fn maxima(x: &Tensor, pooling: Pooling, [p, q]: [usize; 2]) -> (Vec<f64>, Vec<u32>) {
    let Pooling { kernel, window, .. } = pooling;
    let [n, h, w, c] = [0, 1, 2, 3].map(|axis| x.shape.dims[axis]);
    let cells = (0..n * p * q * c).map(|cell| {
        let (c_at, q_at, p_at, n_at) = (cell % c, cell / c % q, cell / c / q % p, cell / c / q / p);
        let mut best: Option<(f64, u32)> = None;
        for tap in 0..kernel * kernel {
            let row = window.input_index(p_at, tap / kernel, h);
            let column = window.input_index(q_at, tap % kernel, w);
            let (Some(row), Some(column)) = (row, column) else {
                continue;
            };
            let value = x.values()[((n_at * h + row) * w + column) * c + c_at];
            let wins = best.is_none_or(|(b, _)| value > b || (value.is_nan() && !b.is_nan()));
            if wins {
                best = Some((value, tap as u32));
            }
        }
        best.expect("every window overlaps the feature map")
    });
    cells.unzip()
}

/// Extents of feature maps and a pooling.
pub(super) fn cases() -> impl Iterator<Item = ([usize; 4], Pooling)> {
    [
        ([1, 1, 1, 1], 3, 2, 1, false),
        ([2, 8, 8, 5], 3, 2, 1, false),
        ([2, 8, 8, 5], 3, 2, 1, true),
        ([1, 7, 9, 64], 3, 2, 1, false),
        ([1, 6, 6, 3], 2, 2, 0, false),
        ([1, 5, 6, 3], 2, 3, 0, true),
    ]
    .into_iter()
    .map(|(dims, kernel, stride, padding, ceil_mode)| {
        let window = Window { stride, padding };
        let pooling = Pooling {
            kernel,
            window,
            ceil_mode,
        };
        (dims, pooling)
    })
}
