//! Dropout with inverted scaling (Srivastava et al. 2014): keeps an element with probability
//! 1 − p and divides it by 1 − p.
//!
//! The mask is a function of (seed, epoch, sample, channel), so the backward pass regenerates it
//! instead of storing it: the gradient of dropout is the same operator.

use super::super::step::{STEP_WORDS, Step};
use super::super::{GraphError, Node, Tensor, ValueId};
use super::named::{inputs, named};
use super::tape::Tape;
use super::{Draw, HalfMaps, Operator, Sample, require};
use crate::rng::{self, Purpose, philox4x32};
use crate::shape::{Layout, Shape};

/// (x [N, .., C], samples u32 `[N]`, step) → x with elements dropped, the others scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of dropping an element, 0 ≤ p < 1.
    pub probability: f32,
}

impl Dropout {
    /// Elements whose random word is below this are dropped.
    pub fn threshold(&self) -> u32 {
        (f64::from(self.probability) * 4_294_967_296.0) as u32
    }

    /// Factor on kept elements.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }
}

inputs! {
    /// Operands of [`Dropout`].
    DropoutInputs of Dropout {
        /// Features [N, .., C], one row for each sample.
        x,
        /// Index of each image in its dataset, u32 `[N]`.
        samples,
        /// Seed and epoch.
        step,
    }
}

impl Operator for Dropout {
    const NAME: &'static str = "dropout";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let DropoutInputs { x, samples, step } = self.try_inputs(inputs)?;
        require((0.0..1.0).contains(&self.probability), || {
            format!("probability {} is not in [0, 1)", self.probability)
        })?;
        require(
            x.layout == Layout::Channels && x.rows() == samples.len() && step.len() == STEP_WORDS,
            || "needs features with one row for each sample, and the step tensor".to_owned(),
        )?;
        Ok(vec![x.clone()])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let DropoutInputs { x, samples, step } = self.inputs(inputs);
        let step = Step::from_words(step.indices());
        let key = rng::key(step.seed);
        let channels = x.shape.last();
        let samples = samples.indices();
        let cells = x.values().iter().enumerate();
        let values = cells.map(|(i, x)| {
            let (row, c) = (i / channels, i % channels);
            let counter = [
                c as u32 / 4,
                samples[row],
                step.epoch,
                Purpose::Dropout as u32,
            ];
            match philox4x32(counter, key)[c % 4] < self.threshold() {
                true => 0.0,
                false => x * f64::from(self.scale()),
            }
        });
        vec![Tensor::real(x.shape.clone(), values.collect())]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let Some(dy) = upstream[0] else {
            return Ok(vec![None; 3]);
        };
        let named = self.inputs(&node.inputs);
        let x = named.x;
        let operands = DropoutInputs { x: dy, ..named }.list();
        let dx = tape.push_one(self.clone(), &operands, x)?;
        Ok(vec![Some(dx), None, None])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [(0.0, 3, 5), (0.5, 9, 33), (0.9, 2, 128)]
            .map(|(probability, batch, channels)| {
                let step = Step {
                    seed: 77,
                    epoch: 2,
                    ..Step::default()
                };
                let inputs = vec![
                    draw.real(Shape::channels(&[batch, 1, 1, channels])),
                    draw.words(Shape::indices(&[batch])),
                    Tensor::index(Step::shape(), step.to_words().into()),
                ];
                Sample::new(Dropout { probability }, inputs)
            })
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of dropped elements is within five standard deviations of the probability, and
    /// the others are scaled so that the expected value stays.
    #[test]
    fn elements_are_dropped_with_the_given_probability() {
        let (batch, channels) = (200, 100);
        let x = Tensor::real(
            Shape::channels(&[batch, 1, 1, channels]),
            vec![1.0; batch * channels],
        );
        let samples = Tensor::index(Shape::indices(&[batch]), (0..batch as u32).collect());
        let step = Tensor::index(Step::shape(), Step::default().to_words().into());
        for probability in [0.0f32, 0.1, 0.5, 0.9] {
            let results = Dropout { probability }.reference(&[&x, &samples, &step]);
            let kept = 1.0 / (1.0 - f64::from(probability));
            let mut dropped = 0.0;
            for value in results[0].values() {
                dropped += f64::from(u8::from(*value == 0.0));
                assert!(
                    *value == 0.0 || (value - kept).abs() < 1e-6 * kept,
                    "{value}"
                );
            }
            let (count, p) = ((batch * channels) as f64, f64::from(probability));
            let deviation = (count * p * (1.0 - p)).sqrt();
            assert!(
                (dropped - count * p).abs() <= 5.0 * deviation,
                "{dropped} of {p}"
            );
        }
    }
}
