//! In-place update of the loss-scaling state.

use crate::graph::ops::LossScale;

pub(super) fn change(words: &mut [u32], change: impl FnOnce(&mut LossScale)) {
    let mut scale = LossScale::from_words(words);
    change(&mut scale);
    words.copy_from_slice(&scale.to_words());
}
