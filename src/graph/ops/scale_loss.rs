//! Multiplies the weights of the losses by the loss scale; see [`LossScale`].

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, LossScale, Operator, Sample, require};
use crate::shape::Shape;

/// (weights f32 `[N]`, loss scale) → weights · scale.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleLoss;

inputs! {
    /// Operands of [`ScaleLoss`].
    ScaleLossInputs of ScaleLoss {
        /// Weight of each image's loss, f32 `[N]`.
        weights,
        /// The loss scale.
        scale,
    }
}

impl Operator for ScaleLoss {
    const NAME: &'static str = "scale_loss";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let ScaleLossInputs { weights, scale } = self.try_inputs(inputs)?;
        require(
            *weights == Shape::dense(&[weights.len()]) && *scale == LossScale::shape(),
            || "needs weights [N] and a loss scale".to_owned(),
        )?;
        Ok(vec![weights.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ScaleLossInputs { weights, scale } = self.inputs(inputs);
        let scale = f64::from(LossScale::from_words(scale.indices()).scale);
        let scaled = weights.values().iter().map(|weight| weight * scale);
        vec![Tensor::real(weights.shape.clone(), scaled.collect())]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [1, 5, 130]
            .map(|batch| {
                let weights = draw.positive(Shape::dense(&[batch]));
                Sample::new(ScaleLoss, vec![weights, LossScale::initial().tensor()])
            })
            .into()
    }
}
