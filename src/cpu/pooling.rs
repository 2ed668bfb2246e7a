//! The zero-padded shortcut and the pooling layers.

use rayon::prelude::*;

use super::Cpu;
use super::batch_norm::{Channels, normalize_part};
use super::call::{Call, Extent, Plane};
use super::columns::TASK;
use crate::graph::ops::{MaxPool, MaxPoolGrad, ShortcutAdd, ShortcutGrad};

/// Calls `work` with each line of pixels of a result: image, row, numbers.
fn for_each_line(
    cpu: &Cpu,
    result: Extent,
    numbers: &mut [f32],
    work: impl Fn(usize, usize, &mut [f32]) + Sync,
) {
    let line = result.size[1] * result.channels;
    let lines = numbers.par_chunks_mut(line.max(1));
    lines
        .with_min_len((TASK / line.max(1)).max(1))
        .enumerate()
        .for_each(|(line, numbers)| {
            let (image, row) = (line / result.size[0], line % result.size[0]);
            cpu.instructions.vectorise(
                #[inline(always)]
                || work(image, row, numbers),
            );
        });
}

/// Cells of the window at `at` along an axis of `extent`.
fn window(at: usize, stride: usize, extent: usize) -> std::ops::Range<usize> {
    at * stride..((at + 1) * stride).min(extent)
}

pub(super) fn shortcut_add(cpu: &Cpu, op: &ShortcutAdd, mut call: Call<'_>) {
    let (branch, x) = (call.plane(0), call.plane(1));
    let extent = call.result_extent(0);
    let (stride, wide) = (op.stride, extent.channels);
    let normalize = op
        .normalize
        .as_ref()
        .map(|op| Channels::new(wide, call.numbers(2), call.numbers(3), op.epsilon));
    for_each_line(
        cpu,
        extent,
        call.result(0),
        #[inline(always)]
        |image, row, y| {
            let line = row * branch.size[1] * wide;
            let branch = &branch.image(image)[line..line + y.len()];
            match &normalize {
                Some(channels) => normalize_part(channels, false, y, branch),
                None => y.copy_from_slice(branch),
            }
            let x_image = x.image(image);
            let rows = window(row, stride, x.size[0]);
            for (column, y) in y.chunks_exact_mut(wide).enumerate() {
                let columns = window(column, stride, x.size[1]);
                let share = 1.0 / (rows.len() * columns.len()) as f32;
                for row in rows.clone() {
                    for column in columns.clone() {
                        let at = (row * x.size[1] + column) * x.channels;
                        let x = &x_image[at..at + x.channels];
                        for (y, x) in y.iter_mut().zip(x) {
                            *y += x * share;
                        }
                    }
                }
            }
        },
    );
}

/// The gradient that comes through a shortcut, pixel by pixel.
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

    /// Adds to pixels of `stored` channels, of which the first has number `first` in the batch.
    #[inline(always)]
    pub(super) fn add_to(&self, dx: &mut [f32], first: usize, stored: usize) {
        let [height, width, channels] = self.input;
        let [mut image, mut line, mut column] = [
            first / width / height,
            first / width % height,
            first % width,
        ];
        for dx in dx.chunks_exact_mut(stored) {
            let (row, place) = (line / self.stride, column / self.stride);
            let rows = window(row, self.stride, height).len();
            let share = 1.0 / (rows * window(place, self.stride, width).len()) as f32;
            let at = (row * self.dy.size[1] + place) * self.dy.channels;
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

pub(super) fn shortcut_grad(cpu: &Cpu, op: &ShortcutGrad, mut call: Call<'_>) {
    let pool_backward = PoolBackward::new(op, call.plane(0));
    let extent = call.result_extent(0);
    for_each_line(
        cpu,
        extent,
        call.result(0),
        #[inline(always)]
        |image, row, dx| {
            dx.fill(0.0);
            let first = (image * extent.size[0] + row) * extent.size[1];
            pool_backward.add_to(dx, first, extent.channels);
        },
    );
}

pub(super) fn global_average(cpu: &Cpu, mut call: Call<'_>) {
    let x = call.plane(0);
    let pixels = x.size[0] * x.size[1];
    for_each_line(
        cpu,
        call.result_extent(0),
        call.result(0),
        #[inline(always)]
        |image, _, y| {
            y.fill(0.0);
            for pixel in x.image(image).chunks_exact(x.channels) {
                for (y, x) in y.iter_mut().zip(pixel) {
                    *y += x;
                }
            }
            for y in y {
                *y /= pixels as f32;
            }
        },
    );
}

pub(super) fn global_average_grad(cpu: &Cpu, mut call: Call<'_>) {
    let dy = call.plane(0);
    let extent = call.result_extent(0);
    let pixels = (extent.size[0] * extent.size[1]) as f32;
    for_each_line(
        cpu,
        extent,
        call.result(0),
        #[inline(always)]
        |image, _, dx| {
            let dy = dy.image(image);
            for dx in dx.chunks_exact_mut(dy.len()) {
                for (dx, dy) in dx.iter_mut().zip(dy) {
                    *dx = dy / pixels;
                }
            }
        },
    );
}

pub(super) fn max_pool(cpu: &Cpu, op: &MaxPool, mut call: Call<'_>) {
    let (x, channels) = (call.plane(0), call.shape(0).last());
    let extent = call.result_extent(0);
    let (y, places) = (call.result(0), call.result_words(1));
    let line = extent.size[1] * extent.channels;
    let lines = y.par_chunks_mut(line).zip(places.par_chunks_mut(line));
    lines.enumerate().for_each(|(line, (y, places))| {
        let (image, row) = (line / extent.size[0], line % extent.size[0]);
        let from = Source {
            numbers: x.image(image),
            size: x.size,
            channels,
            stored: x.channels,
            row,
        };
        cpu.instructions.vectorise(
            #[inline(always)]
            || pool_line(op, &from, y, places),
        );
    });
}

struct Source<'a> {
    numbers: &'a [f32],
    size: [usize; 2],
    /// True ones, and as stored.
    channels: usize,
    stored: usize,
    row: usize,
}

#[inline(always)]
fn pool_line(op: &MaxPool, from: &Source<'_>, y: &mut [f32], places: &mut [u32]) {
    let [height, width] = from.size;
    let pixels = y.chunks_exact_mut(from.stored);
    for (column, (y, places)) in pixels.zip(places.chunks_exact_mut(from.stored)).enumerate() {
        y[from.channels..].fill(0.0);
        places[from.channels..].fill(0);
        let mut found = false;
        for tap in 0..op.kernel * op.kernel {
            let row = op.window.source(from.row, tap / op.kernel, height);
            let column = op.window.source(column, tap % op.kernel, width);
            let (Some(row), Some(column)) = (row, column) else {
                continue;
            };
            let at = (row * width + column) * from.stored;
            let x = &from.numbers[at..at + from.channels];
            for ((y, place), x) in y.iter_mut().zip(places.iter_mut()).zip(x) {
                // A NaN wins over any number, and the first of equals wins.
                if !found || *x > *y || (x.is_nan() && !y.is_nan()) {
                    (*y, *place) = (*x, tap as u32);
                }
            }
            found = true;
        }
    }
}

pub(super) fn max_pool_grad(op: &MaxPoolGrad, mut call: Call<'_>) {
    let (dy, places) = (call.plane(0), call.words(1));
    let extent = call.result_extent(0);
    let (channels, columns) = (extent.channels, dy.size[1]);
    let [height, width] = extent.size;
    let places_len = dy.image_len();
    let images = call.result(0).par_chunks_mut(extent.image_len());
    images.enumerate().for_each(|(image, dx)| {
        dx.fill(0.0);
        let places = &places[image * places_len..(image + 1) * places_len];
        for (cell, (dy, place)) in dy.image(image).iter().zip(places).enumerate() {
            let (pixel, channel) = (cell / channels, cell % channels);
            let tap = *place as usize;
            let row = op.window.source(pixel / columns, tap / op.kernel, height);
            let column = op.window.source(pixel % columns, tap % op.kernel, width);
            // The pads of an activation have no place, and a gradient of zero.
            if let (Some(row), Some(column)) = (row, column) {
                dx[(row * width + column) * channels + channel] += dy;
            }
        }
    });
}
