//! Sets rectangles of images to zero.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{Erase, RECTANGLE_WORDS, Rectangle};

pub(super) fn run(_: &Cpu, op: &Erase, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let x = call.plane(named.x);
    let words = call.shape(named.rectangles).last();
    let rectangles = call.words(named.rectangles).par_chunks_exact(words);
    let [_, width] = x.size;
    let images = call.result(0).par_chunks_exact_mut(x.image_len());
    images
        .zip(rectangles)
        .enumerate()
        .for_each(|(n, (y, own))| {
            y.copy_from_slice(x.image(n));
            for rectangle in own.chunks_exact(RECTANGLE_WORDS) {
                let Rectangle {
                    top,
                    left,
                    bottom,
                    right,
                } = Rectangle::from_words(rectangle);
                for row in top..bottom {
                    let at = |column: u32| (row as usize * width + column as usize) * x.channels;
                    y[at(left)..at(right.max(left))].fill(0.0);
                }
            }
        });
}
