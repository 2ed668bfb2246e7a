//! Mixes each image of a batch with another one of it.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{MIXTURE_WORDS, MixBatch, Mixture};

pub(super) fn run(_: &Cpu, op: &MixBatch, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let x = call.plane(named.x);
    let mixtures = call.words(named.mixtures).par_chunks_exact(MIXTURE_WORDS);
    let [_, width] = x.size;
    let images = call.result(0).par_chunks_exact_mut(x.image_len());
    images
        .zip(mixtures)
        .enumerate()
        .for_each(|(n, (y, words))| {
            let mixture = Mixture::from_words(words);
            let own = x.image(n).chunks_exact(x.channels);
            let other = x.image(mixture.partner as usize).chunks_exact(x.channels);
            let pixels = y.chunks_exact_mut(x.channels).zip(own.zip(other));
            for (pixel, (y, (own, other))) in pixels.enumerate() {
                let weight = match mixture.rectangle.contains(pixel / width, pixel % width) {
                    true => 0.0,
                    false => mixture.weight,
                };
                for (y, (own, other)) in y.iter_mut().zip(own.iter().zip(other)) {
                    *y = weight * own + (1.0 - weight) * other;
                }
            }
        });
}
