//! Batch norm (Ioffe and Szegedy 2015) for given moments, optionally followed by ReLU:
//!
//! ```text
//! x̂ = (x − mean) / √(variance + ε)      y = x̂·scale + shift      [y = max(y, 0)]
//! ```
//!
//! and its gradients, where dy is masked by the ReLU if there is one and M is the number of
//! values of a channel in the batch:
//!
//! ```text
//! dscale = Σ dy·x̂      dshift = Σ dy
//! dx = scale/√(variance + ε) · (dy − dshift/M − x̂·dscale/M)      in training
//! dx = scale/√(variance + ε) · dy                                with running statistics
//! ```

use super::super::{Data, Tensor};
use super::batch_moments::{merge, partial};
use super::{Draw, require};
use crate::shape::{Layout, Shape};

pub(super) fn check(x: &Shape, vectors: &[&Shape]) -> Result<(), String> {
    require(x.layout == Layout::Channels, || {
        "needs an activation [.., C]".to_owned()
    })?;
    let expected = Shape::channels(&[2, x.last()]);
    require(vectors.iter().all(|v| **v == expected), || {
        format!("moments and affine must be {expected}")
    })
}

/// Batch-norm coefficients of one channel.
pub(super) struct Channel {
    pub(super) mean: f64,
    /// 1/√(variance + ε).
    pub(super) inverse: f64,
    pub(super) scale: f64,
    pub(super) shift: f64,
}

impl Channel {
    pub(super) fn all(moments: &Tensor, affine: &Tensor, epsilon: f32) -> Vec<Channel> {
        let channels = moments.shape.last();
        let (moments, affine) = (moments.values(), affine.values());
        (0..channels)
            .map(|c| Channel {
                mean: moments[c],
                inverse: 1.0 / (moments[channels + c] + f64::from(epsilon)).sqrt(),
                scale: affine[c],
                shift: affine[channels + c],
            })
            .collect()
    }

    pub(super) fn normalized(&self, x: f64) -> f64 {
        (x - self.mean) * self.inverse
    }

    /// The upstream gradient, zeroed where the ReLU is inactive.
    pub(super) fn masked(&self, x: f64, dy: f64, relu: bool) -> f64 {
        match relu && self.normalized(x) * self.scale + self.shift <= 0.0 {
            true => 0.0,
            false => dy,
        }
    }
}

/// Random x, moments (those of x if `batch`) and affine. If not `batch`, every third value of
/// channel 0 is normalised to exactly 0, where the gradient of the ReLU is 0.
pub(super) fn numbers(draw: &mut Draw, dims: &[usize], batch: bool) -> (Tensor, Tensor, Tensor) {
    let mut x = draw.real(Shape::channels(dims));
    let channels = x.shape.last();
    let vector = Shape::channels(&[2, channels]);
    let mut moments = match batch {
        true => merge(&partial(&x)),
        false => draw.positive(vector.clone()),
    };
    let mut affine = draw.real(vector);
    if !batch {
        let tensors = [&mut x, &mut moments, &mut affine];
        let [x, moments, affine] = tensors.map(|tensor| match &mut tensor.data {
            Data::Real(values) => values,
            Data::Index(_) => unreachable!("all are real"),
        });
        x.iter_mut().step_by(3 * channels).for_each(|x| *x = 0.0);
        moments[0] = 0.0;
        affine[channels] = 0.0;
    }
    (x, moments, affine)
}

pub(super) fn cases() -> impl Iterator<Item = ([usize; 4], bool, bool)> {
    let dims = [[2, 1, 1, 1], [2, 3, 5, 7], [3, 17, 13, 33], [1, 2, 3, 286]];
    let modes = [(true, true), (true, false), (false, true), (false, false)];
    dims.into_iter()
        .flat_map(move |dims| modes.map(|(batch, relu)| (dims, batch, relu)))
}
