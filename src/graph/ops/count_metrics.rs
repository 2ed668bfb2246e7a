//! Accumulates the loss and the number of correct predictions over batches.

use super::super::{Data, Tensor};
use super::cross_entropy::IGNORED;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Metrics, Operator, Sample, require};
use crate::shape::{DType, Shape};

/// (losses f32 `[N]`, ranks u32 `[N]`, metrics) → metrics, in place.
///
/// Images whose rank is [`IGNORED`] are not counted. If the sum of the losses is now NaN or
/// infinite, or a gradient or update was in an earlier step, [`Metrics::halted`] increases.
#[derive(Clone, Debug, PartialEq)]
pub struct CountMetrics;

inputs! {
    /// Operands of [`CountMetrics`].
    CountMetricsInputs of CountMetrics {
        /// Loss of each image, f32 `[N]`.
        losses,
        /// Rank of each image's label, u32 `[N]`.
        ranks,
        /// The metrics, updated in place.
        metrics,
    }
}

impl Operator for CountMetrics {
    const NAME: &'static str = "count_metrics";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let CountMetricsInputs {
            losses,
            ranks,
            metrics,
        } = self.try_inputs(inputs)?;
        require(
            losses.dtype == DType::F32 && losses.len() == ranks.len(),
            || "needs one loss and one rank for each image".to_owned(),
        )?;
        require(*metrics == Metrics::shape(), || {
            "the last operand must be the metrics".to_owned()
        })?;
        Ok(vec![metrics.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let mut metrics = Metrics::from_words(named.metrics.indices());
        let mut loss = f64::from(metrics.loss);
        for (value, rank) in named.losses.values().iter().zip(named.ranks.indices()) {
            if *rank == IGNORED {
                continue;
            }
            loss += value;
            metrics.top1 += u32::from(*rank < 1);
            metrics.top5 += u32::from(*rank < 5);
            metrics.images += 1;
        }
        metrics.loss = loss as f32;
        metrics.halted += u32::from(metrics.diverged());
        vec![Tensor::index(Metrics::shape(), metrics.to_words().into())]
    }

    fn updates(&self, _: usize) -> Vec<(usize, usize)> {
        vec![(2, 0)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let start = Metrics {
            loss: 2.5,
            top1: 3,
            top5: 4,
            images: 7,
            ..Metrics::default()
        };
        let sample = |draw: &mut Draw, batch: usize, loss: f64, start: Metrics| {
            let mut losses = draw.real(Shape::dense(&[batch]));
            let mut ranks = draw.below(Shape::indices(&[batch]), 9);
            if let (Data::Real(losses), Data::Index(ranks)) = (&mut losses.data, &mut ranks.data) {
                losses[batch / 3] += loss;
                ranks[batch / 2] = IGNORED;
            }
            let metrics = Tensor::index(Metrics::shape(), start.to_words().into());
            Sample::new(CountMetrics, vec![losses, ranks, metrics])
        };
        let [mut gradient, mut update] = [start, start];
        (gradient.gradient, update.update) = (8, 1);
        let before = Metrics {
            halted: 2,
            ..update
        };
        let mut samples: Vec<Sample> = [1, 5, 64, 257]
            .map(|batch| sample(draw, batch, 0.0, start))
            .into();
        samples.extend([
            sample(draw, 6, f64::INFINITY, start),
            sample(draw, 100, f64::NAN, start),
            sample(draw, 7, 0.0, gradient),
            sample(draw, 7, 0.0, update),
            sample(draw, 7, 0.0, before),
        ]);
        samples
    }
}
