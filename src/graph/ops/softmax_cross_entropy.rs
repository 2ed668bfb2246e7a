//! Softmax cross-entropy of each image, the rank of its label, and the gradient.
//!
//! ```text
//! loss = log Σ exp(logit − max) − (logit[label] − max)
//! rank = number of classes with a larger logit (or an equal one and a lower index)
//! dlogits = weight · (softmax − onehot(label))
//! ```

use super::super::autodiff::Tape;
use super::super::{Data, GraphError, Node, Tensor, ValueId};
use super::{Draw, Operator, Sample, operands, require};
use crate::shape::{DType, Layout, Shape};

/// Label of a row that is only padding, and rank of such a row.
pub const IGNORED: u32 = u32::MAX;

/// (logits [N, .., K], labels u32 `[N]`) → (losses f32 `[N]`, ranks u32 `[N]`).
///
/// A label of [`IGNORED`] gives loss 0 and rank [`IGNORED`]; if any logit of a row is NaN or
/// infinite its loss is NaN and its rank K, a miss.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropy;

/// (logits, labels, weights f32 `[N]`) → dlogits.
///
/// Where the loss of a row is NaN, so is its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftmaxCrossEntropyGrad;

fn check(logits: &Shape, labels: &Shape) -> Result<(), String> {
    require(logits.layout == Layout::Channels, || {
        "takes logits [N, .., K]".to_owned()
    })?;
    require(
        labels.dtype == DType::U32 && labels.len() == logits.rows(),
        || "needs one label for each row of logits".to_owned(),
    )
}

/// log Σ exp(logit).
fn log_sum_exp(logits: &[f64]) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln()
}

impl Operator for SoftmaxCrossEntropy {
    const NAME: &'static str = "softmax_cross_entropy";
    const OUTPUTS: &'static [&'static str] = &["losses", "ranks"];

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [logits, labels] = operands(inputs)?;
        check(logits, labels)?;
        Ok(vec![
            Shape::dense(&[labels.len()]),
            Shape::indices(&[labels.len()]),
        ])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let classes = inputs[0].shape.last();
        let labels = inputs[1].indices();
        let rows = inputs[0].values().chunks_exact(classes).zip(labels);
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
        vec![
            Tensor::real(Shape::dense(&[labels.len()]), losses),
            Tensor::index(Shape::indices(&[labels.len()]), ranks),
        ]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (logits, labels) = (node.inputs[0], node.inputs[1]);
        let Some(weights) = upstream[0] else {
            return Ok(vec![None, None]);
        };
        let operands = [logits, labels, weights];
        let dlogits = tape.push_one(SoftmaxCrossEntropyGrad, &operands, logits)?;
        Ok(vec![Some(dlogits), None])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(batch, classes)| {
                let inputs = numbers(draw, batch, classes);
                Sample::new(SoftmaxCrossEntropy, inputs.into())
            })
            .collect()
    }
}

impl Operator for SoftmaxCrossEntropyGrad {
    const NAME: &'static str = "softmax_cross_entropy_grad";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [logits, labels, weights] = operands(inputs)?;
        check(logits, labels)?;
        require(*weights == Shape::dense(&[labels.len()]), || {
            "needs one weight for each row of logits".to_owned()
        })?;
        Ok(vec![logits.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let classes = inputs[0].shape.last();
        let rows = inputs[0].values().chunks_exact(classes);
        let keys = inputs[1].indices().iter().zip(inputs[2].values());
        let mut gradient = Vec::with_capacity(inputs[0].shape.len());
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
        vec![Tensor::real(inputs[0].shape.clone(), gradient)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(batch, classes)| {
                let [logits, labels] = numbers(draw, batch, classes);
                let weights = draw.positive(Shape::dense(&[batch]));
                let inputs = vec![logits, labels, weights];
                Sample::new(SoftmaxCrossEntropyGrad, inputs)
            })
            .collect()
    }
}

/// Logits, and labels of which one is ignored where there are several.
fn numbers(draw: &mut Draw, batch: usize, classes: usize) -> [Tensor; 2] {
    let logits = draw.real(Shape::channels(&[batch, 1, 1, classes]));
    let mut labels = draw.below(Shape::indices(&[batch]), classes as u32);
    if let (Data::Index(labels), true) = (&mut labels.data, batch > 2) {
        labels[1] = IGNORED;
    }
    [logits, labels]
}

fn cases() -> impl Iterator<Item = (usize, usize)> {
    [(1, 1), (3, 10), (70, 7), (2, 1000), (5, 100)].into_iter()
}
