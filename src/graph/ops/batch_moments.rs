//! Mean and variance of each channel over a batch: the statistics of batch norm
//! (Ioffe and Szegedy 2015, algorithm 1).

use super::super::Tensor;
use super::{Draw, Operator, Sample, operands, require};
use crate::shape::{Layout, Shape};

/// x [.., C] → moments [2, C]: row 0 the mean, row 1 the biased variance.
///
/// It has no gradient rule of its own: [`super::Normalize`] with `batch` set accounts for
/// the dependence of the moments on x.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMoments;

impl Operator for BatchMoments {
    const NAME: &'static str = "batch_moments";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [x] = operands(inputs)?;
        require(x.layout == Layout::Channels, || {
            "takes an activation".to_owned()
        })?;
        require(x.rows() > 0, || "needs at least one picture".to_owned())?;
        Ok(vec![Shape::channels(&[2, x.last()])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let (rows, channels) = (x.shape.rows(), x.shape.last());
        let mut moments = vec![0.0; 2 * channels];
        let (mean, variance) = moments.split_at_mut(channels);
        for row in x.values().chunks_exact(channels) {
            for (sum, value) in mean.iter_mut().zip(row) {
                *sum += value / rows as f64;
            }
        }
        for row in x.values().chunks_exact(channels) {
            for c in 0..channels {
                variance[c] += (row[c] - mean[c]).powi(2) / rows as f64;
            }
        }
        vec![Tensor::real(Shape::channels(&[2, channels]), moments)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [
            [1, 1, 2, 1],
            [2, 3, 5, 7],
            [3, 17, 13, 33],
            [1, 1, 1, 5],
            [2, 2, 2, 286],
        ]
        .map(|dims| Sample::new(BatchMoments, vec![draw.real(Shape::channels(&dims))]))
        .into()
    }
}
