//! Stochastic gradient descent with Nesterov momentum and weight decay, as in Torch7's
//! `optim.sgd`: g = gradient + λ·p, v = μ·v + g, p = p − η·(g + μ·v).
//!
//! One node updates all parameters, because each operand arena is one flat vector.

use super::super::Tensor;
use super::super::step::{STEP_WORDS, Step};
use super::named::{inputs, named, outputs};
use super::{Draw, HalfMaps, LossScale, Metrics, Operator, Sample, require};
use crate::shape::Shape;

/// (parameters…, gradients…, velocities…, metrics, step) → parameters…, velocities…,
/// metrics, in place; a scaled loss adds the loss scale as last operand.
///
/// Learning rate η, momentum μ and weight decay λ are in the step tensor.
/// A gradient that is NaN or infinite sets [`Metrics::BAD_GRADIENT`].
/// Gradients of a scaled loss are divided by the scale, and a step whose gradients overflowed
/// changes nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    /// Whether the loss was multiplied by a scale; see [`LossScale`].
    pub scaled: bool,
}

impl Sgd {
    /// Number of parameters, from the number of operands.
    fn count(&self, operands: usize) -> usize {
        operands.saturating_sub(2 + usize::from(self.scaled)) / 3
    }
}

inputs! {
    /// Operands of [`Sgd`].
    SgdInputs of Sgd {
        /// Trainable parameters, updated in place.
        parameters: many(|op, count| op.count(count)),
        /// Gradient of each parameter.
        gradients: many(|op, count| op.count(count)),
        /// Velocity of each parameter, updated in place.
        velocities: many(|op, count| op.count(count)),
        /// The metrics, updated in place.
        metrics,
        /// Learning rate, momentum and weight decay.
        step,
        /// The loss scale, if the loss is scaled.
        scale: optional(|op, _| op.scaled),
    }
}

outputs! {
    /// Results of [`Sgd`], all updated in place.
    SgdOutputs of Sgd {
        /// The updated parameters.
        parameters: many(|_, count| count / 2),
        /// The updated velocities.
        velocities: many(|_, count| count / 2),
        /// The updated metrics.
        metrics,
    }
}

impl Operator for Sgd {
    const NAME: &'static str = "sgd";
    const OUTPUTS: &'static [&'static str] = &[];
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let SgdInputs {
            parameters,
            gradients,
            velocities,
            metrics,
            step,
            scale,
        } = self.try_inputs(inputs)?;
        require(!parameters.is_empty(), || {
            "needs at least one parameter".to_owned()
        })?;
        require(parameters == gradients && parameters == velocities, || {
            "gradients and velocities must have the shapes of their parameters".to_owned()
        })?;
        require(
            *metrics == Metrics::shape() && step.len() == STEP_WORDS,
            || "metrics and step tensor must follow the velocities".to_owned(),
        )?;
        require(scale.is_none_or(|s| *s == LossScale::shape()), || {
            "the last operand must be a loss scale".to_owned()
        })?;
        let results = SgdOutputs {
            parameters,
            velocities,
            metrics,
        };
        Ok(results.list().into_iter().cloned().collect())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let scale = match named.scale {
            Some(scale) => LossScale::from_words(scale.indices()),
            None => LossScale::unscaled(),
        };
        let step = Step::from_words(named.step.indices());
        let [rate, momentum, decay] =
            [step.learning_rate, step.momentum, step.weight_decay].map(f64::from);
        let mut metrics = Metrics::from_words(named.metrics.indices());
        let mut parameters = Vec::with_capacity(named.parameters.len());
        let mut velocities = Vec::with_capacity(named.parameters.len());
        let values = named.parameters.iter().zip(&named.gradients);
        for ((parameter, gradient), velocity) in values.zip(&named.velocities) {
            let shape = &parameter.shape;
            let [p, g, v] = [parameter, gradient, velocity].map(|tensor| tensor.values());
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
        let results = SgdOutputs {
            parameters,
            velocities,
            metrics: Tensor::index(Metrics::shape(), metrics.to_words().into()),
        };
        results.list()
    }

    fn updates(&self, operands: usize) -> Vec<(usize, usize)> {
        let operands: Vec<usize> = (0..operands).collect();
        let named = self.inputs(&operands);
        let updated = SgdOutputs {
            parameters: named.parameters,
            velocities: named.velocities,
            metrics: named.metrics,
        };
        updated.list().into_iter().zip(0..).collect()
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
                ..LossScale::initial()
            };
            let mut inputs = inputs.clone();
            inputs.push(Tensor::index(LossScale::shape(), state.to_words().into()));
            samples.push(Sample::new(Sgd { scaled: true }, inputs));
        }
        samples
    }
}
