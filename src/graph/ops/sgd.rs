//! Stochastic gradient descent with Nesterov momentum and weight decay, as Torch7's
//! `optim.sgd` does it: g = gradient + λ·p, v = μ·v + g, p = p − η·(g + μ·v).
//!
//! All parameters are updated by one node, because their arenas are three flat vectors.

use super::super::Tensor;
use super::super::step::{Step, WORDS};
use super::{Draw, LossScale, Metrics, Operator, Sample, require};
use crate::shape::Shape;

/// (parameters…, gradients…, velocities…, metrics, step) → parameters…, velocities…,
/// metrics, in place; with the loss scale as one more operand where the loss is scaled.
///
/// Learning rate η, momentum μ and weight decay λ come with the step.
/// A gradient that is NaN or infinite sets [`Metrics::BAD_GRADIENT`].
/// Gradients of a scaled loss are divided by the scale, and a step that overflowed changes
/// nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    /// Whether the loss was multiplied by a scale; see [`LossScale`].
    pub scaled: bool,
}

impl Sgd {
    /// Number of parameters among the operands.
    pub fn count(&self, operands: usize) -> usize {
        operands.saturating_sub(2 + usize::from(self.scaled)) / 3
    }
}

impl Operator for Sgd {
    const NAME: &'static str = "sgd";
    const OUTPUTS: &'static [&'static str] = &[];

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let n = self.count(inputs.len());
        let others = 2 + usize::from(self.scaled);
        require(n > 0 && inputs.len() == 3 * n + others, || {
            "takes parameters, gradients and velocities in equal number, metrics, step".to_owned()
        })?;
        let (parameters, gradients) = (&inputs[..n], &inputs[n..2 * n]);
        let velocities = &inputs[2 * n..3 * n];
        require(parameters == gradients && parameters == velocities, || {
            "gradients and velocities need the shapes of their parameters".to_owned()
        })?;
        require(
            *inputs[3 * n] == Metrics::shape() && inputs[3 * n + 1].len() == WORDS,
            || "the operands after them must be metrics and step".to_owned(),
        )?;
        let scale = inputs.get(3 * n + 2);
        require(scale.is_none_or(|s| **s == LossScale::shape()), || {
            "the last operand must be a loss scale".to_owned()
        })?;
        let results = parameters.iter().chain(velocities).chain([&inputs[3 * n]]);
        Ok(results.map(|s| (*s).clone()).collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let n = self.count(inputs.len());
        let scale = match self.scaled {
            true => LossScale::from_words(inputs[3 * n + 2].indices()),
            false => LossScale::none(),
        };
        let step = Step::from_words(inputs[3 * n + 1].indices());
        let [rate, momentum, decay] =
            [step.learning_rate, step.momentum, step.weight_decay].map(f64::from);
        let mut metrics = Metrics::from_words(inputs[3 * n].indices());
        let mut parameters = Vec::with_capacity(n);
        let mut velocities = Vec::with_capacity(n);
        for index in 0..n {
            let shape = &inputs[index].shape;
            let [p, g, v] = [0, n, 2 * n].map(|part| inputs[part + index].values());
            let mut new_p = Vec::with_capacity(p.len());
            let mut new_v = Vec::with_capacity(p.len());
            for ((p, g), v) in p.iter().zip(g).zip(v) {
                if scale.overflow != 0 {
                    new_v.push(*v);
                    new_p.push(*p);
                    continue;
                }
                let g = g / f64::from(scale.scale);
                if !g.is_finite() {
                    metrics.flags |= Metrics::BAD_GRADIENT;
                }
                let g = g + decay * p;
                let v = momentum * v + g;
                new_v.push(v);
                new_p.push(p - rate * (g + momentum * v));
            }
            parameters.push(Tensor::real(shape.clone(), new_p));
            velocities.push(Tensor::real(shape.clone(), new_v));
        }
        parameters.extend(velocities);
        parameters.push(Tensor::index(Metrics::shape(), metrics.to_words().into()));
        parameters
    }

    fn updates(&self, operands: usize) -> Vec<(usize, usize)> {
        let n = self.count(operands);
        let parameters = (0..n).map(|i| (i, i));
        let velocities = (0..n).map(|i| (2 * n + i, n + i));
        parameters
            .chain(velocities)
            .chain([(3 * n, 2 * n)])
            .collect()
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let shapes = [Shape::weights([3, 3, 5, 6]), Shape::channels(&[2, 70])];
        let step = Step {
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
            ..Step::default()
        };
        let tensors = (0..3).flat_map(|_| shapes.clone());
        let mut inputs: Vec<Tensor> = tensors.map(|shape| draw.real(shape)).collect();
        inputs.push(Tensor::zeros(&Metrics::shape()));
        inputs.push(Tensor::index(Step::shape(), step.to_words().into()));
        let mut samples = vec![Sample::new(Sgd { scaled: false }, inputs.clone())];
        for overflow in [0, 1] {
            let state = LossScale {
                scale: 8.0,
                overflow,
                ..LossScale::start()
            };
            let mut inputs = inputs.clone();
            inputs.push(Tensor::index(LossScale::shape(), state.to_words().into()));
            samples.push(Sample::new(Sgd { scaled: true }, inputs));
        }
        samples
    }
}
