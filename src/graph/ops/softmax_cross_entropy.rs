//! Softmax cross-entropy of each image, and the rank of its label.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::cross_entropy::{IGNORED, cases, check, log_sum_exp, numbers, unusual_numbers};
use super::named::{inputs, named, outputs};
use super::softmax_cross_entropy_grad::SoftmaxCrossEntropyGradInputs;
use super::tape::Tape;
use super::{Draw, HalfMaps, Operator, Sample, SoftmaxCrossEntropyGrad};
use crate::shape::Shape;

/// (logits [N, .., K], labels u32 `[N]`) → (losses f32 `[N]`, ranks u32 `[N]`).
///
/// A label of [`IGNORED`] gives loss 0 and rank [`IGNORED`]. If any logit of a row is NaN or
/// infinite, its loss is NaN and its rank K, which counts as incorrect.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropy;

inputs! {
    /// Operands of [`SoftmaxCrossEntropy`].
    SoftmaxCrossEntropyInputs of SoftmaxCrossEntropy {
        /// Logits [N, .., K].
        logits,
        /// Class indices, u32 `[N]`.
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
        check(logits, labels)?;
        let results = SoftmaxCrossEntropyOutputs {
            losses: Shape::dense(&[labels.len()]),
            ranks: Shape::indices(&[labels.len()]),
        };
        Ok(results.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let SoftmaxCrossEntropyInputs { logits, labels } = self.inputs(inputs);
        let classes = logits.shape.last();
        let labels = labels.indices();
        let rows = logits.values().chunks_exact(classes).zip(labels);
        let (losses, ranks) = rows
            .map(|(logits, label)| {
                if *label == IGNORED {
                    return (0.0, IGNORED);
                }
                if logits.iter().any(|l| !l.is_finite()) {
                    return (f64::NAN, classes as u32);
                }
                let label = *label as usize;
                let ahead = |(class, logit): &(usize, &f64)| {
                    **logit > logits[label] || (**logit == logits[label] && *class < label)
                };
                let rank = logits.iter().enumerate().filter(ahead).count();
                (log_sum_exp(logits) - logits[label], rank as u32)
            })
            .unzip();
        let results = SoftmaxCrossEntropyOutputs {
            losses: Tensor::real(Shape::dense(&[labels.len()]), losses),
            ranks: Tensor::index(Shape::indices(&[labels.len()]), ranks),
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
        let dlogits = tape.push_one(SoftmaxCrossEntropyGrad, &operands.list(), logits)?;
        Ok(vec![Some(dlogits), None])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let usual = cases().map(|(batch, classes)| numbers(draw, batch, classes));
        let mut inputs: Vec<_> = usual.collect();
        inputs.push(unusual_numbers(draw));
        let sample = |inputs: [Tensor; 2]| Sample::new(SoftmaxCrossEntropy, inputs.into());
        inputs.into_iter().map(sample).collect()
    }
}
