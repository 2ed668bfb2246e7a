//! Mean and variance of each channel over a batch: the statistics of batch norm
//! (Ioffe and Szegedy 2015, algorithm 1).

use super::super::Tensor;
use super::{Draw, Operator, RunningAverage, Sample, operands, require};
use crate::shape::{Layout, Shape};

/// x [.., C] → moments [2, C]: row 0 the mean, row 1 the biased variance; or (x, running
/// [2, C]) → (moments, running), which takes them in.
///
/// It has no gradient rule of its own: [`super::Normalize`] with `batch` set accounts for
/// the dependence of the moments on x.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMoments {
    /// How the running statistics take in those of the batch.
    pub running: Option<RunningAverage>,
}

impl Operator for BatchMoments {
    const NAME: &'static str = "batch_moments";

    const OUTPUTS: &'static [&'static str] = &["batch", "running"];

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (x, kept) = inputs.split_at(inputs.len().min(1));
        let [x] = operands(x)?;
        require(x.layout == Layout::Channels, || {
            "takes an activation".to_owned()
        })?;
        require(x.rows() > 0, || "needs at least one image".to_owned())?;
        let moments = Shape::channels(&[2, x.last()]);
        match &self.running {
            Some(running) => {
                let [kept] = operands(kept)?;
                let kept = running.infer(&[kept, &moments])?;
                Ok([vec![moments], kept].concat())
            }
            None => require(kept.is_empty(), || {
                format!("takes 1 operand, not {}", inputs.len())
            })
            .map(|()| vec![moments]),
        }
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
        let moments = Tensor::real(Shape::channels(&[2, channels]), moments);
        let running = self.running.as_ref();
        let kept = running.map_or_else(Vec::new, |r| r.reference(&[inputs[1], &moments]));
        [vec![moments], kept].concat()
    }

    fn updates(&self, _: usize) -> Vec<(usize, usize)> {
        self.running.iter().map(|_| (1, 1)).collect()
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [
            [1, 1, 2, 1],
            [2, 3, 5, 7],
            [3, 17, 13, 33],
            [1, 1, 1, 5],
            [2, 2, 2, 286],
        ]
        .into_iter()
        .flat_map(|dims| {
            let x = draw.real(Shape::channels(&dims));
            let kept = draw.positive(Shape::channels(&[2, dims[3]]));
            let running = RunningAverage {
                weight: 0.1,
                count: x.shape.rows().max(2),
            };
            let op = |running| BatchMoments { running };
            [
                Sample::new(op(None), vec![x.clone()]),
                Sample::new(op(Some(running)), vec![x, kept]),
            ]
        })
        .collect()
    }
}
