//! Gradient of softmax cross-entropy with respect to the logits.

use super::super::Tensor;
use super::cross_entropy::{self, IGNORED, Target, check, log_sum_exp};
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// (logits, labels, weights f32 `[N]`) → dlogits.
///
/// If the loss of a row is NaN, so is its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropyGrad {
    /// As in [`super::SoftmaxCrossEntropy`].
    pub smoothing: f32,
}

inputs! {
    /// Operands of [`SoftmaxCrossEntropyGrad`].
    SoftmaxCrossEntropyGradInputs of SoftmaxCrossEntropyGrad {
        /// Logits [N, .., K].
        logits,
        /// Class indices, u32 `[N]`, or [`Target`]s, u32 [3, N].
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
        check(logits, labels, self.smoothing)?;
        require(*weights == Shape::dense(&[logits.rows()]), || {
            "needs one weight for each row of logits".to_owned()
        })?;
        Ok(vec![logits.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let shape = &named.logits.shape;
        let classes = shape.last();
        let rows = named.logits.values().chunks_exact(classes);
        let targets = Target::from_words(named.labels.indices(), shape.rows());
        let keys = targets.into_iter().zip(named.weights.values());
        let mut gradient = Vec::with_capacity(shape.len());
        for (logits, (target, weight)) in rows.zip(keys) {
            if target.label == IGNORED {
                gradient.extend(logits.iter().map(|_| 0.0));
                continue;
            }
            if logits.iter().any(|l| !l.is_finite()) {
                gradient.extend(logits.iter().map(|_| f64::NAN));
                continue;
            }
            let total = log_sum_exp(logits);
            for (class, logit) in logits.iter().enumerate() {
                let wanted = target.probability(class, classes, self.smoothing);
                gradient.push(weight * ((logit - total).exp() - wanted));
            }
        }
        vec![Tensor::real(shape.clone(), gradient)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let inputs = cross_entropy::samples(draw);
        let sample = |(smoothing, [logits, labels]): (f32, [Tensor; 2])| {
            let weights = draw.positive(Shape::dense(&[logits.shape.rows()]));
            let op = SoftmaxCrossEntropyGrad { smoothing };
            Sample::new(op, vec![logits, labels, weights])
        };
        inputs.into_iter().map(sample).collect()
    }
}
