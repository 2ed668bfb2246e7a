//! Gradient of softmax cross-entropy with respect to the logits.

use super::super::Tensor;
use super::cross_entropy::{IGNORED, cases, check, log_sum_exp, numbers, unusual_numbers};
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// (logits, labels, weights f32 `[N]`) → dlogits.
///
/// If the loss of a row is NaN, so is its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropyGrad;

inputs! {
    /// Operands of [`SoftmaxCrossEntropyGrad`].
    SoftmaxCrossEntropyGradInputs of SoftmaxCrossEntropyGrad {
        /// Logits [N, .., K].
        logits,
        /// Class indices, u32 `[N]`.
        labels,
        /// Weight of each image's loss, f32 `[N]`.
        weights,
    }
}

impl Operator for SoftmaxCrossEntropyGrad {
    const NAME: &'static str = "softmax_cross_entropy_grad";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let SoftmaxCrossEntropyGradInputs {
            logits,
            labels,
            weights,
        } = self.try_inputs(inputs)?;
        check(logits, labels)?;
        require(*weights == Shape::dense(&[labels.len()]), || {
            "needs one weight for each row of logits".to_owned()
        })?;
        Ok(vec![logits.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let shape = &named.logits.shape;
        let classes = shape.last();
        let rows = named.logits.values().chunks_exact(classes);
        let keys = named.labels.indices().iter().zip(named.weights.values());
        let mut gradient = Vec::with_capacity(shape.len());
        for (logits, (label, weight)) in rows.zip(keys) {
            if *label == IGNORED {
                gradient.extend(logits.iter().map(|_| 0.0));
                continue;
            }
            if logits.iter().any(|l| !l.is_finite()) {
                gradient.extend(logits.iter().map(|_| f64::NAN));
                continue;
            }
            let total = log_sum_exp(logits);
            for (class, logit) in logits.iter().enumerate() {
                let target = f64::from(u8::from(class == *label as usize));
                gradient.push(weight * ((logit - total).exp() - target));
            }
        }
        vec![Tensor::real(shape.clone(), gradient)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let usual = cases().map(|(batch, classes)| numbers(draw, batch, classes));
        let mut inputs: Vec<_> = usual.collect();
        inputs.push(unusual_numbers(draw));
        let sample = |[logits, labels]: [Tensor; 2]| {
            let weights = draw.positive(Shape::dense(&[labels.shape.len()]));
            Sample::new(SoftmaxCrossEntropyGrad, vec![logits, labels, weights])
        };
        inputs.into_iter().map(sample).collect()
    }
}
