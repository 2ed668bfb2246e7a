//! Classes of nodes for which the same kernel is the fastest: measuring one node of a class is
//! enough.
//!
//! Kernels for a node compare alike if the operator, window, stride, fused operations and precision
//! are the same, tiles fit the channels of the result alike, and sums and the number of pixels are
//! about as long. So channels and pixels are rounded: PyramidNet's channels grow by a few from unit
//! to unit, but its hundreds of layers fall into a few dozen classes.

use std::fmt;

use super::choices::HALF;
use crate::shape::LANES;

/// A class of nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShapeClass {
    /// Operator, window and fused operations.
    form: String,
    /// Channels of x and y, and pixels, rounded.
    sizes: [usize; 3],
    half: bool,
}

impl ShapeClass {
    /// `form` begins with the operator's name; sizes are rounded already.
    pub(super) fn new(form: String, sizes: [usize; 3], half: bool) -> ShapeClass {
        ShapeClass { form, sizes, half }
    }

    /// How different the sizes of two classes are, in octaves; `None` if they differ in more than
    /// their sizes.
    pub fn distance(&self, other: &ShapeClass) -> Option<f64> {
        let octaves = |(a, b): (usize, usize)| (a as f64 / b as f64).log2().abs();
        let sizes = self.sizes.into_iter().zip(other.sizes);
        let comparable = self.form == other.form && self.half == other.half;
        comparable.then(|| sizes.map(octaves).sum())
    }
}

/// The key in a table of choices; [`super::kernel_name`] takes it like the key of a node.
impl fmt::Display for ShapeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [i, o, pixels] = self.sizes;
        let precision = if self.half { HALF } else { "" };
        write!(f, "{} {i}>{o} @{pixels}{precision}", self.form)
    }
}

/// Channels to which tiles must fit: exact up to eight vectors, then rounded up by less than a
/// quarter, so that tiles waste about as much.
pub(super) fn fitted(channels: usize) -> usize {
    let vecs = channels.div_ceil(LANES).max(1);
    let step = (vecs.next_power_of_two() / 8).max(1);
    LANES * vecs.next_multiple_of(step)
}

/// A length that all kernels' times are proportional to, about: rounded up to a power of two.
pub(super) fn length(count: usize) -> usize {
    count.max(1).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::kernel_name;

    #[test]
    fn channels_are_rounded_up_by_less_than_a_quarter() {
        for channels in 1..=2048 {
            let rounded = fitted(channels);
            let vecs = channels.div_ceil(LANES);
            assert!(rounded >= channels && rounded.is_multiple_of(LANES));
            assert!(
                rounded - LANES * vecs < (vecs / 4).max(1) * LANES,
                "{channels}"
            );
            assert_eq!(fitted(rounded), rounded);
        }
        assert_eq!([16, 17, 36, 65, 129].map(fitted), [16, 20, 40, 80, 160]);
    }

    #[test]
    fn classes_are_keys_and_have_distances() {
        let class = |form: &str, sizes, half| ShapeClass::new(form.to_owned(), sizes, half);
        let a = class("conv2d 3x3/1 reduce", [64, 48, 1024], true);
        assert_eq!(a.to_string(), "conv2d 3x3/1 reduce 64>48 @1024 f16");
        assert_eq!(kernel_name(&a.to_string(), "direct"), "conv2d direct f16");
        let b = class("conv2d 3x3/1 reduce", [32, 96, 1024], true);
        assert_eq!(a.distance(&b), Some(2.0));
        let c = class("conv2d 3x3/2 reduce", [32, 96, 1024], true);
        assert_eq!(a.distance(&c), None);
    }
}
