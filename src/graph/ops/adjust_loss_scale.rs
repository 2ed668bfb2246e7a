//! Adjusts the loss scale after a step; see [`LossScale::adjust`].

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, LossScale, Metrics, Operator, Sample, require};
use crate::shape::Shape;

/// (loss scale, metrics) → both in place. Sets [`Metrics::BAD_GRADIENT`] if
/// [`LossScale::adjust`] returns true.
#[derive(Clone, Debug, PartialEq)]
pub struct AdjustLossScale;

inputs! {
    /// Operands of [`AdjustLossScale`], both updated in place.
    AdjustLossScaleInputs of AdjustLossScale {
        /// The loss scale.
        scale,
        /// The metrics.
        metrics,
    }
}

impl Operator for AdjustLossScale {
    const NAME: &'static str = "adjust_loss_scale";
    const OUTPUTS: &'static [&'static str] = &[];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let AdjustLossScaleInputs { scale, metrics } = self.try_inputs(inputs)?;
        require(
            *scale == LossScale::shape() && *metrics == Metrics::shape(),
            || "needs a loss scale and metrics".to_owned(),
        )?;
        Ok(vec![scale.clone(), metrics.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let AdjustLossScaleInputs { scale, metrics } = self.inputs(inputs);
        let mut scale = LossScale::from_words(scale.indices());
        let mut metrics = Metrics::from_words(metrics.indices());
        if scale.adjust() {
            metrics.flags |= Metrics::BAD_GRADIENT;
        }
        let metrics = Tensor::index(Metrics::shape(), metrics.to_words().into());
        vec![scale.tensor(), metrics]
    }

    fn updates(&self, _operands: usize) -> Vec<(usize, usize)> {
        vec![(0, 0), (1, 1)]
    }

    fn samples(_draw: &mut Draw) -> Vec<Sample> {
        let start = LossScale::initial();
        let last = LossScale::GROWTH_INTERVAL - 1;
        let overflow = 1;
        let states = [
            start,
            LossScale {
                good_steps: last,
                ..start
            },
            LossScale {
                good_steps: last,
                scale: LossScale::MAX,
                ..start
            },
            LossScale {
                overflow,
                good_steps: 7,
                skipped: 3,
                ..start
            },
            LossScale {
                overflow,
                scale: 2.0,
                ..start
            },
            LossScale {
                overflow,
                scale: 1.0,
                ..start
            },
        ];
        let metrics = || Tensor::zeros(&Metrics::shape());
        states
            .map(|state| Sample::new(AdjustLossScale, vec![state.tensor(), metrics()]))
            .into()
    }
}
