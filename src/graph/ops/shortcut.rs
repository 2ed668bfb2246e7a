//! The zero-padded shortcut of PyramidNet ("Zero-padded Shortcut Connection" in the paper): the unit's input,
//! average-pooled over 2x2 windows if the unit has stride 2, is added to the first channels of
//! the branch; zeros are added to its remaining channels.
//!
//! At odd extents the last window has fewer pixels and averages only those (ceil mode), which
//! matches the output extent of a strided convolution.

use super::require;

/// Input indices of output index `at`, along an axis of `extent` inputs.
pub(super) fn window(at: usize, stride: usize, extent: usize) -> std::ops::Range<usize> {
    at * stride..((at + 1) * stride).min(extent)
}

pub(super) fn check(stride: usize, y: [usize; 4], x: [usize; 4]) -> Result<(), String> {
    require(stride == 1 || stride == 2, || {
        format!("the stride must be 1 or 2, not {stride}")
    })?;
    let expected = [x[1].div_ceil(stride), x[2].div_ceil(stride)];
    require(y[0] == x[0] && [y[1], y[2]] == expected, || {
        format!("the branch must have a feature map of {expected:?}")
    })?;
    require(y[3] >= x[3], || {
        format!("the branch has {} channels, fewer than {}", y[3], x[3])
    })
}

pub(super) fn cases() -> impl Iterator<Item = (usize, [usize; 3], usize, usize)> {
    [
        (1, [1, 1, 1], 1, 1),
        (2, [5, 4, 16], 17, 1),
        (2, [5, 4, 18], 20, 1),
        (2, [8, 8, 20], 29, 2),
        (1, [7, 5, 3], 9, 2),
        (3, [9, 6, 40], 40, 1),
    ]
    .into_iter()
}
