//! What the images of a batch are mixed with: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et
//! al., ICCV 2019).
//!
//! A batch, or micro-batch, has one share λ ~ Beta(α, α), and its partners are a uniform
//! permutation of it, so that an image may be its own partner. With both methods, a batch uses one
//! of them, each with probability one half, as in timm. A batch of one image, such as the last
//! micro-batch of an epoch, is mixed with itself, which changes nothing but
//! rounding; no training batch is filled up with padding.
//! Everything depends on the seed, the epoch and the number of the batch in its epoch only.

use super::Recipe;
use crate::data::EpochKey;
use crate::graph::ops::{Mixture, Rectangle, Target};
use crate::rng::{Purpose, Stream};

/// How the images of a batch are mixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixing {
    /// Position in the batch of each image's partner.
    pub partners: Vec<u32>,
    /// Share of an image's own label.
    pub share: f32,
    /// Where partners replace images (CutMix); none if their pixels are averaged (mixup).
    pub cut: Option<Rectangle>,
}

impl Mixing {
    /// The mixing of a batch of so many images of `size` x `size`, by its number in the epoch from
    /// 0; `None` if the recipe has none.
    pub fn draw(
        recipe: &Recipe,
        key: EpochKey,
        batch: u32,
        images: usize,
        size: u32,
    ) -> Option<Mixing> {
        let mut stream = key.stream(Purpose::Mix, batch as usize);
        let (alpha, is_cut) = match (recipe.mixup, recipe.cutmix) {
            (None, None) => return None,
            (Some(alpha), None) => (alpha, false),
            (None, Some(alpha)) => (alpha, true),
            (Some(mixup), Some(cutmix)) => match stream.below(2) == 0 {
                true => (mixup, false),
                false => (cutmix, true),
            },
        };
        let partners = stream.permutation(images);
        let share = stream.beta(alpha.into());
        let cut = is_cut.then(|| cut(&mut stream, share, size));
        let share = match &cut {
            None => share,
            // What the image keeps.
            Some(cut) => 1.0 - cut.area() as f64 / f64::from(size).powi(2),
        };
        Some(Mixing {
            partners,
            share: share as f32,
            cut,
        })
    }

    /// The mixture of each image.
    pub fn mixtures(&self) -> impl Iterator<Item = Mixture> {
        self.partners.iter().map(|partner| Mixture {
            partner: *partner,
            weight: match self.cut {
                None => self.share,
                Some(_) => 1.0,
            },
            rectangle: self.cut.unwrap_or_default(),
        })
    }

    /// The targets of images with these labels.
    pub fn targets(&self, labels: &[u32]) -> Vec<Target> {
        let pairs = labels.iter().zip(&self.partners);
        let target = |(label, partner): (&u32, &u32)| Target {
            label: *label,
            other: labels[*partner as usize],
            share: self.share,
        };
        pairs.map(target).collect()
    }
}

/// A square of area 1 − `share` of the image around a uniform pixel, clipped to the image, with the
/// rounding of the authors' program.
fn cut(stream: &mut Stream, share: f64, size: u32) -> Rectangle {
    let half = (f64::from(size) * libm::sqrt(1.0 - share)) as u32 / 2;
    let [row, column] = [(); 2].map(|()| stream.below(size));
    let first = |centre: u32| centre.saturating_sub(half);
    let end = |centre: u32| (centre + half).min(size);
    Rectangle {
        top: first(row),
        left: first(column),
        bottom: end(row),
        right: end(column),
    }
}
