//! Exponential moving averages of weights (Polyak and Juditsky 1992; as timm's `ModelEmaV2` and
//! `torch.optim.swa_utils.get_ema_multi_avg_fn`): a = a + (1 − d)·(w − a) after every step.

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, LossScale, Metrics, Operator, Sample, require};
use crate::shape::Shape;

/// (averages…, values…, metrics) → averages, in place; a scaled loss adds the loss scale as last
/// operand.
///
/// Nothing changes in a step that [`super::Sgd`] has skipped: because its scaled gradients
/// overflowed, or because a loss, gradient or update was NaN or infinite.
#[derive(Clone, Debug, PartialEq)]
pub struct AverageWeights {
    /// Weight of the old average, d.
    pub decay: f32,
    /// Whether the loss was multiplied by a scale; see [`LossScale`].
    pub scaled: bool,
}

impl AverageWeights {
    /// Weight of the new values, 1 − d.
    pub fn weight(&self) -> f32 {
        (1.0 - f64::from(self.decay)) as f32
    }

    /// Whether the step was skipped.
    pub fn is_skipped(&self, metrics: &[u32], scale: Option<&[u32]>) -> bool {
        let metrics = Metrics::from_words(metrics);
        metrics.halted != 0
            || metrics.gradient != 0
            || metrics.update != 0
            || scale.is_some_and(|scale| LossScale::from_words(scale).overflow != 0)
    }

    /// Number of averages, from the number of operands.
    fn count(&self, operands: usize) -> usize {
        operands.saturating_sub(1 + usize::from(self.scaled)) / 2
    }
}

inputs! {
    /// Operands of [`AverageWeights`].
    AverageWeightsInputs of AverageWeights {
        /// The averages, updated in place.
        averages: many(|op, count| op.count(count)),
        /// The values of the step.
        values: many(|op, count| op.count(count)),
        /// The metrics.
        metrics,
        /// The loss scale, if the loss is scaled.
        scale: optional(|op, _| op.scaled),
    }
}

impl Operator for AverageWeights {
    const NAME: &'static str = "average_weights";
    const OUTPUTS: &'static [&'static str] = &[];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let AverageWeightsInputs {
            averages,
            values,
            metrics,
            scale,
        } = self.try_inputs(inputs)?;
        require(!averages.is_empty() && averages == values, || {
            "averages and values must have the same shapes".to_owned()
        })?;
        require(
            *metrics == Metrics::shape() && scale.is_none_or(|s| *s == LossScale::shape()),
            || "metrics must follow the values, then a loss scale if the loss is scaled".to_owned(),
        )?;
        Ok(averages.into_iter().cloned().collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let scale = named.scale.map(|scale| scale.indices());
        let weight = match self.is_skipped(named.metrics.indices(), scale) {
            true => 0.0,
            false => f64::from(self.weight()),
        };
        let pairs = named.averages.into_iter().zip(named.values);
        let averaged = pairs.map(|(average, value)| {
            let elements = average.values().iter().zip(value.values());
            let elements = elements.map(|(a, v)| match weight {
                0.0 => *a,
                weight => a + weight * (v - a),
            });
            Tensor::real(average.shape.clone(), elements.collect())
        });
        averaged.collect()
    }

    fn updates(&self, operands: usize) -> Vec<(usize, usize)> {
        (0..self.count(operands)).map(|i| (i, i)).collect()
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let shapes = [Shape::weights([3, 3, 5, 6]), Shape::channels(&[2, 70])];
        let tensors = (0..2).flat_map(|_| shapes.clone());
        let tensors: Vec<Tensor> = tensors.map(|shape| draw.real(shape)).collect();
        let bad = |change: fn(&mut Metrics)| {
            let mut metrics = Metrics::default();
            change(&mut metrics);
            metrics
        };
        let metrics = [
            Metrics::default(),
            bad(|m| m.halted = 1),
            bad(|m| m.gradient = 3),
            bad(|m| m.update = 3),
        ];
        let sample = |metrics: Metrics, overflow: Option<u32>| {
            let mut inputs = tensors.clone();
            inputs.push(Tensor::index(Metrics::shape(), metrics.to_words().into()));
            inputs.extend(overflow.map(|overflow| {
                let state = LossScale {
                    overflow,
                    ..LossScale::initial()
                };
                state.tensor()
            }));
            let op = AverageWeights {
                decay: 0.9,
                scaled: overflow.is_some(),
            };
            Sample::new(op, inputs)
        };
        let mut samples: Vec<Sample> = metrics.map(|m| sample(m, None)).into();
        samples.extend([0, 1].map(|overflow| sample(Metrics::default(), Some(overflow))));
        samples
    }
}
