//! Softmax cross-entropy of each image, and the rank of its label.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::cross_entropy::{self, IGNORED, Target, check, log_sum_exp};
use super::named::{inputs, named, outputs};
use super::softmax_cross_entropy_grad::SoftmaxCrossEntropyGradInputs;
use super::tape::Tape;
use super::{Draw, HalfMaps, Operator, Sample, SoftmaxCrossEntropyGrad};
use crate::shape::Shape;

/// (logits [N, .., K], labels u32 `[N]` or [3, N]) → (losses f32 `[N]`, ranks u32 `[N]`).
///
/// Labels [3, N] are two for each image, with the share of the first: see [`Target`].
/// A label of [`IGNORED`] gives loss 0 and rank [`IGNORED`]. If any logit of a row is NaN or
/// infinite, its loss is NaN and its rank K, which counts as incorrect.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// Share of the target that is spread evenly over all classes, 0 ≤ smoothing < 1.
    pub smoothing: f32,
}

inputs! {
    /// Operands of [`SoftmaxCrossEntropy`].
    SoftmaxCrossEntropyInputs of SoftmaxCrossEntropy {
        /// Logits [N, .., K].
        logits,
        /// Class indices, u32 `[N]`, or [`Target`]s, u32 [3, N].
        labels,
    }
}

outputs! {
    /// Results of [`SoftmaxCrossEntropy`].
    SoftmaxCrossEntropyOutputs of SoftmaxCrossEntropy {
        /// Loss of each image, f32 `[N]`.
        losses,
        /// Rank of each image's label, 0 if it is the top prediction, u32 `[N]`.
        ranks,
    }
}

impl Operator for SoftmaxCrossEntropy {
    const NAME: &'static str = "softmax_cross_entropy";
    const OUTPUTS: &'static [&'static str] = &["losses", "ranks"];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let SoftmaxCrossEntropyInputs { logits, labels } = self.try_inputs(inputs)?;
        check(logits, labels, self.smoothing)?;
        let results = SoftmaxCrossEntropyOutputs {
            losses: Shape::dense(&[logits.rows()]),
            ranks: Shape::indices(&[logits.rows()]),
        };
        Ok(results.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let SoftmaxCrossEntropyInputs { logits, labels } = self.inputs(inputs);
        let classes = logits.shape.last();
        let images = logits.shape.rows();
        let targets = Target::from_words(labels.indices(), images);
        let rows = logits.values().chunks_exact(classes).zip(targets);
        let (losses, ranks) = rows
            .map(|(logits, target)| {
                if target.label == IGNORED {
                    return (0.0, IGNORED);
                }
                if logits.iter().any(|l| !l.is_finite()) {
                    return (f64::NAN, classes as u32);
                }
                let label = target.leading() as usize;
                let ahead = |(class, logit): &(usize, &f64)| {
                    **logit > logits[label] || (**logit == logits[label] && *class < label)
                };
                let rank = logits.iter().enumerate().filter(ahead).count();
                let expected = logits.iter().enumerate().map(|(class, logit)| {
                    target.probability(class, classes, self.smoothing) * logit
                });
                let loss = log_sum_exp(logits) - expected.sum::<f64>();
                (loss, rank as u32)
            })
            .unzip();
        let results = SoftmaxCrossEntropyOutputs {
            losses: Tensor::real(Shape::dense(&[images]), losses),
            ranks: Tensor::index(Shape::indices(&[images]), ranks),
        };
        results.list()
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let SoftmaxCrossEntropyInputs { logits, labels } = self.inputs(&node.inputs);
        let Some(weights) = self.outputs(upstream).losses else {
            return Ok(vec![None, None]);
        };
        let operands = SoftmaxCrossEntropyGradInputs {
            logits,
            labels,
            weights,
        };
        let op = SoftmaxCrossEntropyGrad {
            smoothing: self.smoothing,
        };
        let dlogits = tape.push_one(op, &operands.list(), logits)?;
        Ok(vec![Some(dlogits), None])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let sample = |(smoothing, inputs): (f32, [Tensor; 2])| {
            Sample::new(SoftmaxCrossEntropy { smoothing }, inputs.into())
        };
        let samples = cross_entropy::samples(draw).into_iter();
        samples.map(sample).collect()
    }
}
