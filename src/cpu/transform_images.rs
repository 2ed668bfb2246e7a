//! Changes images of bytes, each by a transform of its own.

use rayon::prelude::*;

use super::Cpu;
use super::call::Call;
use crate::graph::ops::{TRANSFORM_WORDS, Transform, TransformImages};

pub(super) fn run(_: &Cpu, op: &TransformImages, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let words = call.shape(named.images).last();
    let (images, rows) = (call.words(named.images), call.words(named.rows));
    let transforms = call
        .words(named.transforms)
        .par_chunks_exact(TRANSFORM_WORDS);
    let results = call.result_words(0).par_chunks_exact_mut(words);
    results
        .zip(rows)
        .zip(transforms)
        .for_each(|((y, row), transform)| {
            let x = &images[*row as usize * words..][..words];
            op.apply(Transform::from_words(transform), x, y);
        });
}
