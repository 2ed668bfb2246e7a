//! Adjusts the loss scale after a step; see [`LossScale::adjust`].

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, LossScale, Operator, Sample, require};
use crate::shape::Shape;

/// (loss scale) → loss scale, in place.
#[derive(Clone, Debug, PartialEq)]
pub struct AdjustLossScale;

inputs! {
    /// Operands of [`AdjustLossScale`].
    AdjustLossScaleInputs of AdjustLossScale {
        /// The loss scale, updated in place.
        scale,
    }
}

impl Operator for AdjustLossScale {
    const NAME: &'static str = "adjust_loss_scale";
    const OUTPUTS: &'static [&'static str] = &[];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let AdjustLossScaleInputs { scale } = self.try_inputs(inputs)?;
        require(*scale == LossScale::shape(), || {
            "needs a loss scale".to_owned()
        })?;
        Ok(vec![scale.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let AdjustLossScaleInputs { scale } = self.inputs(inputs);
        let mut scale = LossScale::from_words(scale.indices());
        scale.adjust();
        vec![scale.tensor()]
    }

    fn updates(&self, _operands: usize) -> Vec<(usize, usize)> {
        vec![(0, 0)]
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
        states
            .map(|state| Sample::new(AdjustLossScale, vec![state.tensor()]))
            .into()
    }
}
