//! Shared by the zero-padded shortcut and its gradient.

use super::call::Plane;
use crate::graph::ops::ShortcutGrad;

/// Input range of pooling window `at` along an axis of `extent`.
pub(super) fn window(at: usize, stride: usize, extent: usize) -> std::ops::Range<usize> {
    at * stride..((at + 1) * stride).min(extent)
}

/// Average-pool backward through a shortcut, pixel by pixel.
pub(super) struct PoolBackward<'a> {
    stride: usize,
    /// Rows, columns and true channels of the shortcut's input.
    input: [usize; 3],
    /// Gradient of the sum.
    dy: Plane<'a>,
}

impl<'a> PoolBackward<'a> {
    pub(super) fn new(op: &ShortcutGrad, dy: Plane<'a>) -> PoolBackward<'a> {
        PoolBackward {
            stride: op.stride,
            input: op.input,
            dy,
        }
    }

    /// Adds the gradient to pixels of `stored` channels; `first` is the first one's index in the
    /// batch.
    #[inline(always)]
    pub(super) fn add_to(&self, dx: &mut [f32], first: usize, stored: usize) {
        let [height, width, channels] = self.input;
        let [mut image, mut line, mut column] = [
            first / width / height,
            first / width % height,
            first % width,
        ];
        for dx in dx.chunks_exact_mut(stored) {
            let (p, q) = (line / self.stride, column / self.stride);
            let rows = window(p, self.stride, height).len();
            let share = 1.0 / (rows * window(q, self.stride, width).len()) as f32;
            let at = (p * self.dy.size[1] + q) * self.dy.channels;
            let dy = &self.dy.image(image)[at..at + channels];
            for (dx, dy) in dx.iter_mut().zip(dy) {
                *dx += dy * share;
            }
            column += 1;
            if column == width {
                column = 0;
                line += 1;
                if line == height {
                    line = 0;
                    image += 1;
                }
            }
        }
    }
}
