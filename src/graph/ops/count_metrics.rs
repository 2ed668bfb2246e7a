//! Accumulates loss and hits over batches, so that they are read back rarely.

use super::super::Tensor;
use super::softmax_cross_entropy::IGNORED;
use super::{Draw, Operator, Sample, operands, require};
use crate::shape::{DType, Shape};

/// Words in the metrics tensor.
pub const METRIC_WORDS: usize = 8;

/// What the metrics tensor holds: words 0 to 4, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Sum of the images' losses.
    pub loss: f32,
    /// Images whose label ranks first.
    pub top1: u32,
    /// Images whose label ranks among the first five.
    pub top5: u32,
    /// Images counted.
    pub images: u32,
    /// Bit 0: a loss was NaN or infinite; bit 1: a gradient was.
    pub flags: u32,
}

impl Metrics {
    /// Shape of the metrics tensor.
    pub fn shape() -> Shape {
        Shape::indices(&[METRIC_WORDS])
    }

    /// Flag: a loss was NaN or infinite.
    pub const BAD_LOSS: u32 = 1;
    /// Flag: a gradient was NaN or infinite.
    pub const BAD_GRADIENT: u32 = 2;

    /// Encodes.
    pub fn to_words(self) -> [u32; METRIC_WORDS] {
        let loss = self.loss.to_bits();
        [loss, self.top1, self.top5, self.images, self.flags, 0, 0, 0]
    }

    /// Decodes.
    ///
    /// # Panics
    /// If there are fewer than five words.
    pub fn from_words(words: &[u32]) -> Metrics {
        Metrics {
            loss: f32::from_bits(words[0]),
            top1: words[1],
            top5: words[2],
            images: words[3],
            flags: words[4],
        }
    }
}

/// (losses f32 `[N]`, ranks u32 `[N]`, metrics) → metrics, in place.
///
/// Images whose rank is [`IGNORED`] do not count.
#[derive(Clone, Debug, PartialEq)]
pub struct CountMetrics;

impl Operator for CountMetrics {
    const NAME: &'static str = "count_metrics";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [losses, ranks, metrics] = operands(inputs)?;
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
        let mut metrics = Metrics::from_words(inputs[2].indices());
        let mut loss = f64::from(metrics.loss);
        for (value, rank) in inputs[0].values().iter().zip(inputs[1].indices()) {
            if *rank == IGNORED {
                continue;
            }
            loss += value;
            metrics.top1 += u32::from(*rank < 1);
            metrics.top5 += u32::from(*rank < 5);
            metrics.images += 1;
            if !value.is_finite() {
                metrics.flags |= Metrics::BAD_LOSS;
            }
        }
        metrics.loss = loss as f32;
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
            flags: Metrics::BAD_GRADIENT,
        };
        [1, 5, 64, 257]
            .map(|batch| {
                let mut ranks = draw.below(Shape::indices(&[batch]), 9);
                if let super::super::Data::Index(ranks) = &mut ranks.data {
                    ranks[batch / 2] = IGNORED;
                }
                let inputs = vec![
                    draw.real(Shape::dense(&[batch])),
                    ranks,
                    Tensor::index(Metrics::shape(), start.to_words().into()),
                ];
                Sample::new(CountMetrics, inputs)
            })
            .into()
    }
}
