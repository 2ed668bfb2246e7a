//! Stochastic gradient descent with Nesterov momentum and weight decay, as in Torch7's
//! `optim.sgd`: g = gradient + λ·p, v = μ·v + g, p = p − η·(g + μ·v).
//!
//! One node updates all parameters, because each operand arena is one flat vector.

use super::super::step::{STEP_WORDS, Step};
use super::super::{Data, Tensor, lasting};
use super::named::{inputs, named, outputs};
use super::{Draw, HalfMaps, LossScale, Metrics, Operator, Sample, overflows, require};
use crate::shape::{LANES, Shape};

/// (parameters…, gradients…, velocities…, metrics, step) → parameters…, velocities…,
/// metrics, in place; a scaled loss adds the loss scale as operand, clipping the factor after it.
///
/// Learning rate η, momentum μ and weight decay λ are in the step tensor.
/// An element whose gradient or update is NaN or infinite stays as it is, and the metrics record
/// it ([`Metrics::gradient`], [`Metrics::update`]). While [`Metrics::halted`] is not 0, nothing
/// changes.
/// Gradients of a scaled loss are divided by the scale. A step whose gradients overflowed changes
/// no parameter; if the scale is too large, that is all, otherwise the metrics record it.
#[derive(Clone, Debug, PartialEq)]
pub struct Sgd {
    /// Whether the loss was multiplied by a scale; see [`LossScale`].
    pub scaled: bool,
    /// Whether gradients are multiplied by the factor of [`super::ClipFactor`].
    pub clipped: bool,
}

impl Sgd {
    /// Number of parameters, from the number of operands.
    fn count(&self, operands: usize) -> usize {
        operands.saturating_sub(2 + usize::from(self.scaled) + usize::from(self.clipped)) / 3
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
        /// The factor that clips the gradients, f32 `[1]`, if they are clipped.
        factor: optional(|op, _| op.clipped),
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

/// One more than the position of the vector that holds an element, given the byte offset of its
/// operand in the arena and its index in that operand's memory.
pub fn vector_after(offset: u64, element: usize) -> u32 {
    (offset as usize / (4 * LANES) + element / LANES + 1) as u32
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
            factor,
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
            "a loss scale must follow the step tensor".to_owned()
        })?;
        require(factor.is_none_or(|f| *f == Shape::dense(&[1])), || {
            "the last operand must be a factor".to_owned()
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
        let factor = named.factor.map_or(1.0, |factor| factor.values()[0]);
        let step = Step::from_words(named.step.indices());
        let [rate, momentum, decay] =
            [step.learning_rate, step.momentum, step.weight_decay].map(f64::from);
        let mut metrics = Metrics::from_words(named.metrics.indices());
        let idle = metrics.halted != 0 || scale.is_too_large();
        let (offsets, _) = lasting::offsets(named.parameters.iter().map(|tensor| &tensor.shape));
        let mut parameters = Vec::with_capacity(named.parameters.len());
        let mut velocities = Vec::with_capacity(named.parameters.len());
        let tensors = named.parameters.iter().zip(&named.gradients);
        for (((parameter, gradient), velocity), offset) in
            tensors.zip(&named.velocities).zip(offsets)
        {
            let shape = &parameter.shape;
            let [mut p, mut v] = [parameter, velocity].map(|tensor| tensor.values().to_vec());
            let [mut bad_gradient, mut bad_update] = [0, 1].map(|_| vec![false; shape.len()]);
            let elements = gradient.values().iter().enumerate().filter(|_| !idle);
            for (i, gradient) in elements {
                let gradient = gradient / f64::from(scale.scale);
                let g = gradient * factor + decay * p[i];
                let new_v = momentum * v[i] + g;
                let new_p = p[i] - rate * (g + momentum * new_v);
                bad_gradient[i] = overflows(gradient);
                let bad = overflows(new_v) || overflows(new_p);
                bad_update[i] = bad && !bad_gradient[i];
                if !bad && scale.overflow == 0 {
                    (p[i], v[i]) = (new_p, new_v);
                }
            }
            for (word, bad) in [
                (&mut metrics.gradient, bad_gradient),
                (&mut metrics.update, bad_update),
            ] {
                if let Some(last) = shape.pack(&bad).iter().rposition(|bad| *bad) {
                    *word = vector_after(offset, last).max(*word);
                }
            }
            parameters.push(Tensor::real(shape.clone(), p));
            velocities.push(Tensor::real(shape.clone(), v));
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
        let plain = Sgd {
            scaled: false,
            clipped: false,
        };
        let mut samples = vec![Sample::new(plain.clone(), inputs.clone())];
        let halted = Metrics {
            halted: 3,
            update: 5,
            ..Metrics::default()
        };
        let mut after = inputs.clone();
        after[6] = Tensor::index(Metrics::shape(), halted.to_words().into());
        samples.push(Sample::new(plain.clone(), after));
        // Gradients are operands 2 and 3; operand 0 is a parameter whose update overflows.
        for (operand, bad) in [
            (2, f64::NAN),
            (3, f64::NEG_INFINITY),
            (0, f64::from(f32::MAX)),
        ] {
            let mut inputs = inputs.clone();
            if let Data::Real(values) = &mut inputs[operand].data {
                values[77] = bad;
            }
            if operand == 0 {
                let step = Step {
                    weight_decay: -10.0,
                    ..step
                };
                inputs[7] = Tensor::index(Step::shape(), step.to_words().into());
            }
            samples.push(Sample::new(plain.clone(), inputs));
        }
        for (scale, overflow) in [(8.0, 0), (8.0, 1), (1.0, 1)] {
            let state = LossScale {
                scale,
                overflow,
                ..LossScale::initial()
            };
            let mut inputs = inputs.clone();
            if let (1, Data::Real(values)) = (overflow, &mut inputs[3].data) {
                values[101] = f64::INFINITY;
            }
            inputs.push(Tensor::index(LossScale::shape(), state.to_words().into()));
            let scaled = Sgd {
                scaled: true,
                clipped: false,
            };
            samples.push(Sample::new(scaled, inputs.clone()));
            let clipped = Sgd {
                scaled: true,
                clipped: true,
            };
            inputs.push(Tensor::real(Shape::dense(&[1]), vec![0.375]));
            samples.push(Sample::new(clipped, inputs));
        }
        samples
    }
}
