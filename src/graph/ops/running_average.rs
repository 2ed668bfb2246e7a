//! Running statistics of batch norm: running = (1 − m)·running + m·batch, with the unbiased
//! variance of the batch, as in Torch and PyTorch.

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::shape::Shape;

/// (running [2, C], moments [2, C]) → running, in place.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningAverage {
    /// Weight m of the batch, called momentum in PyTorch; 0.1 in the recipe.
    pub weight: f32,
    /// Values of a channel in the batch: N·H·W.
    pub count: usize,
}

impl RunningAverage {
    /// Bessel's correction, the factor from biased to unbiased variance.
    pub fn correction(&self) -> f64 {
        self.count as f64 / (self.count as f64 - 1.0)
    }
}

/// Shape of the updated running statistics, if there are any.
pub(super) fn infer_running(
    op: &Option<RunningAverage>,
    running: Option<&Shape>,
    moments: &Shape,
) -> Result<Option<Shape>, String> {
    let Some((op, running)) = op.as_ref().zip(running) else {
        return Ok(None);
    };
    Ok(op.infer(&[running, moments])?.pop())
}

/// The updated running statistics, if there are any.
pub(super) fn update_running(
    op: &Option<RunningAverage>,
    running: Option<&Tensor>,
    moments: &Tensor,
) -> Option<Tensor> {
    let (op, running) = op.as_ref().zip(running)?;
    op.reference(&[running, moments]).pop()
}

inputs! {
    /// Operands of [`RunningAverage`].
    RunningAverageInputs of RunningAverage {
        /// Running mean and variance [2, C], updated in place.
        running,
        /// Mean and biased variance of the batch [2, C].
        moments,
    }
}

impl Operator for RunningAverage {
    const NAME: &'static str = "running_average";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let RunningAverageInputs { running, moments } = self.try_inputs(inputs)?;
        require(
            running == moments && running.dims.len() == 2 && running.dims[0] == 2,
            || "needs two tensors [2, C]".to_owned(),
        )?;
        require(self.count > 1, || {
            "batch norm needs more than one value for each channel: use a larger batch or image"
                .to_owned()
        })?;
        Ok(vec![running.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let RunningAverageInputs { running, moments } = self.inputs(inputs);
        let channels = running.shape.last();
        let weight = f64::from(self.weight);
        let cells = running.values().iter().zip(moments.values());
        let values = cells.enumerate().map(|(i, (running, moment))| {
            let correction = if i < channels { 1.0 } else { self.correction() };
            (1.0 - weight) * running + weight * moment * correction
        });
        vec![Tensor::real(running.shape.clone(), values.collect())]
    }

    fn updates(&self, _: usize) -> Vec<(usize, usize)> {
        vec![(0, 0)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [(1, 2), (17, 31), (300, 5000)]
            .map(|(channels, count)| {
                let shape = Shape::channels(&[2, channels]);
                let op = RunningAverage { weight: 0.1, count };
                let inputs = vec![draw.positive(shape.clone()), draw.positive(shape)];
                Sample::new(op, inputs)
            })
            .into()
    }
}
