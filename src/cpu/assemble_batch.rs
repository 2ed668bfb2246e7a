//! Assembles a normalised, augmented batch from images.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::AssembleBatch;
use crate::shape::{LANES, PixelFormat};

pub(super) fn run(_: &Cpu, op: &AssembleBatch, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let images = call.words(named.images);
    let (rows, samples) = (call.words(named.rows), call.words(named.samples));
    let step = call.step(named.step);
    let extent = call.result_extent(0);
    let words = AssembleBatch::image_words(op.size, op.pixels);
    let batch = call.result(0).par_chunks_mut(extent.image_len());
    batch.zip(rows).zip(samples).for_each(|((x, row), sample)| {
        let image = &images[*row as usize * words..(*row as usize + 1) * words];
        let bytes: &[u8] = bytemuck::cast_slice(image);
        let (down, right, flip) = op.augmentation(step, *sample);
        for (pixel, x) in x.chunks_exact_mut(LANES).enumerate() {
            x.fill(0.0);
            // A shift past the left or upper edge wraps to a large value, past any extent.
            let h = (pixel / op.size + down).wrapping_sub(op.padding);
            let w = (pixel % op.size + right).wrapping_sub(op.padding);
            if h >= op.size || w >= op.size {
                continue;
            }
            let w = if flip { op.size - 1 - w } else { w };
            for (x, colour) in x.iter_mut().zip(op.order.colours()) {
                let at = (h * op.size + w) * 3 + colour;
                let value = match op.pixels {
                    PixelFormat::U8 => f32::from(bytes[at]),
                    PixelFormat::F32 => f32::from_bits(image[at]),
                };
                *x = (value - op.mean[colour]) / op.std[colour];
            }
        }
    });
}
