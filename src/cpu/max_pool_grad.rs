//! Gradient of max-pooling.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{MaxPoolGrad, Pooling};

pub(super) fn run(_: &Cpu, op: &MaxPoolGrad, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let (dy, argmax) = (call.plane(named.dy), call.words(named.argmax));
    let extent = call.result_extent(0);
    let Pooling { kernel, window, .. } = op.pooling;
    let (channels, columns) = (extent.channels, dy.size[1]);
    let [height, width] = extent.size;
    let image_len = dy.image_len();
    let images = call.result(0).par_chunks_mut(extent.image_len());
    images.enumerate().for_each(|(image, dx)| {
        dx.fill(0.0);
        let argmax = &argmax[image * image_len..(image + 1) * image_len];
        for (cell, (dy, index)) in dy.image(image).iter().zip(argmax).enumerate() {
            let (pixel, channel) = (cell / channels, cell % channels);
            let tap = *index as usize;
            let row = window.input_index(pixel / columns, tap / kernel, height);
            let column = window.input_index(pixel % columns, tap % kernel, width);
            // Pad channels hold index 0, which may lie outside, and a zero gradient.
            if let (Some(row), Some(column)) = (row, column) {
                dx[(row * width + column) * channels + channel] += dy;
            }
        }
    });
}
