//! Gradient clipping by global norm (Pascanu, Mikolov, Bengio: *On the difficulty of training
//! recurrent neural networks*, ICML 2013; PyTorch's `torch.nn.utils.clip_grad_norm_`): the factor
//! min(1, X / (‖g‖ + 10⁻⁶)), with the L2 norm of all gradients together.

use super::super::{Data, Tensor};
use super::named::{inputs, named};
use super::{Draw, HalfMaps, LossScale, Operator, Sample, require};
use crate::shape::{DType, Shape};

/// (gradients…) → factor f32 `[1]`; a scaled loss adds the loss scale as last operand.
///
/// Gradients of a scaled loss are divided by the scale first. If a gradient is NaN or infinite, the
/// factor is 1, so that [`super::Sgd`] finds that gradient as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipFactor {
    /// The largest norm, X.
    pub max_norm: f32,
    /// Whether the loss was multiplied by a scale; see [`LossScale`].
    pub scaled: bool,
}

inputs! {
    /// Operands of [`ClipFactor`].
    ClipFactorInputs of ClipFactor {
        /// The gradients.
        gradients: many(|op, count| count.saturating_sub(usize::from(op.scaled))),
        /// The loss scale, if the loss is scaled.
        scale: optional(|op, _| op.scaled),
    }
}

impl ClipFactor {
    /// The factor, from the sum of the squares of all gradients.
    pub fn factor(&self, squares: f64) -> f64 {
        match squares.is_finite() {
            true => (f64::from(self.max_norm) / (squares.sqrt() + 1e-6)).min(1.0),
            false => 1.0,
        }
    }
}

impl Operator for ClipFactor {
    const NAME: &'static str = "clip_factor";
    const HALF: HalfMaps = HalfMaps::Neither;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let ClipFactorInputs { gradients, scale } = self.try_inputs(inputs)?;
        let real = gradients.iter().all(|shape| shape.dtype == DType::F32);
        require(
            real && !gradients.is_empty() && scale.is_none_or(|s| *s == LossScale::shape()),
            || "needs gradients, then a loss scale if the loss is scaled".to_owned(),
        )?;
        require(self.max_norm > 0.0, || "needs a positive norm".to_owned())?;
        Ok(vec![Shape::dense(&[1])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ClipFactorInputs { gradients, scale } = self.inputs(inputs);
        let scale = match scale {
            Some(scale) => LossScale::from_words(scale.indices()),
            None => LossScale::unscaled(),
        };
        let all = gradients.iter().flat_map(|gradient| gradient.values());
        let squares = all.map(|value| (value / f64::from(scale.scale)).powi(2));
        let factor = self.factor(squares.sum());
        vec![Tensor::real(Shape::dense(&[1]), vec![factor])]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        let shapes = [
            Shape::channels(&[2, 70]),
            Shape::weights([3, 3, 5, 6]),
            // More than one workgroup sums.
            Shape::weights([3, 3, 64, 61]),
        ];
        let gradients: Vec<Tensor> = shapes.map(|shape| draw.real(shape)).into();
        // The norm is about 190.
        let changed = |value: f64| {
            let mut gradients = gradients.clone();
            if let Data::Real(values) = &mut gradients[1].data {
                values[77] = value;
            }
            gradients
        };
        let plain = |max_norm, gradients| {
            let op = ClipFactor {
                max_norm,
                scaled: false,
            };
            Sample::new(op, gradients)
        };
        let mut samples = vec![
            plain(1000.0, gradients.clone()),
            plain(100.0, gradients.clone()),
            // The square exceeds single precision, the norm does not.
            plain(1e30, changed(3e30)),
            plain(1.0, changed(f64::NAN)),
            plain(1.0, changed(f64::INFINITY)),
        ];
        let state = LossScale {
            scale: 8.0,
            ..LossScale::initial()
        };
        let mut scaled = gradients;
        scaled.push(state.tensor());
        let op = ClipFactor {
            max_norm: 20.0,
            scaled: true,
        };
        samples.push(Sample::new(op, scaled));
        samples
    }
}
