//! Gradient of batch norm with respect to its input: see [`super::batch_norm`].

use super::super::Tensor;
use super::batch_norm::{Channel, cases, check, numbers};
use super::named::{inputs, named, outputs};
use super::normalize_grad_reduce::{partial_shape, partial_sums};
use super::{Draw, HalfMaps, NormalizeGradReduce, Operator, Sample, ShortcutGrad, require};
use crate::shape::Shape;

/// (x, dy, moments, affine, daffine) → dx; or, if x also feeds a shortcut, (.., dsum) → the sum
/// of both gradients of x. Optionally also the partial gradients of the scale and shift of the
/// normalisation that computes x.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalizeGrad {
    /// Added to the variance.
    pub epsilon: f32,
    /// As in [`super::Normalize`].
    pub batch: bool,
    /// Whether ReLU follows.
    pub relu: bool,
    /// The shortcut that x feeds besides the normalisation.
    pub shortcut: Option<ShortcutGrad>,
    /// The reduction of dx whose partial sums are a second result.
    pub partial_affine: Option<NormalizeGradReduce>,
}

inputs! {
    /// Operands of [`NormalizeGrad`].
    NormalizeGradInputs of NormalizeGrad {
        /// Input of the normalisation [.., C].
        x,
        /// Gradient of the result [.., C].
        dy,
        /// Mean and variance [2, C].
        moments,
        /// Scale and shift [2, C].
        affine,
        /// Gradients of scale and shift [2, C].
        daffine,
        /// Gradient of the unit output that the shortcut is added to [N, P, Q, O].
        dsum: optional(|op, _| op.shortcut.is_some()),
        /// Operands of the normalisation that computes x.
        norm: normalized(|op, _| op.partial_affine.is_some()),
    }
}

outputs! {
    /// Results of [`NormalizeGrad`].
    NormalizeGradOutputs of NormalizeGrad {
        /// Gradient of x [.., C].
        dx,
        /// Partial gradients of scale and shift [2, C].
        partial_affine: optional(|op, _| op.partial_affine.is_some()),
    }
}

impl Operator for NormalizeGrad {
    const NAME: &'static str = "normalize_grad";
    const OUTPUTS: &'static [&'static str] = &["dx", "partial affine"];
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let NormalizeGradInputs {
            x,
            dy,
            moments,
            affine,
            daffine,
            dsum,
            norm,
        } = self.try_inputs(inputs)?;
        check(x, &[moments, affine, daffine])?;
        require(x == dy, || "dy must have the shape of x".to_owned())?;
        if let (Some(shortcut), Some(dsum)) = (&self.shortcut, dsum) {
            require(shortcut.infer(&[dsum])? == [x.clone()], || {
                format!("the gradient of the shortcut must be {x}")
            })?;
        }
        let partial_affine = partial_shape(&self.partial_affine, norm, x)?;
        let dx = x.clone();
        Ok(NormalizeGradOutputs { dx, partial_affine }.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let x = named.x;
        let channels = Channel::all(named.moments, named.affine, self.epsilon);
        let count = channels.len();
        let sums = named.daffine.values();
        let rows = x.shape.rows() as f64;
        let cells = x.values().iter().zip(named.dy.values());
        let values = cells.enumerate().map(|(i, (x, dy))| {
            let c = i % count;
            let channel = &channels[c];
            let dy = channel.masked(*x, *dy, self.relu);
            let through_moments = match self.batch {
                true => (sums[count + c] + channel.normalized(*x) * sums[c]) / rows,
                false => 0.0,
            };
            channel.scale * channel.inverse * (dy - through_moments)
        });
        let mut values: Vec<f64> = values.collect();
        if let (Some(shortcut), Some(dsum)) = (&self.shortcut, named.dsum) {
            let other = shortcut.reference(&[dsum]).remove(0);
            for (value, other) in values.iter_mut().zip(other.values()) {
                *value += other;
            }
        }
        let dx = Tensor::real(x.shape.clone(), values);
        let partial_affine = partial_sums(&self.partial_affine, named.norm, &dx);
        NormalizeGradOutputs { dx, partial_affine }.list()
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .enumerate()
            .flat_map(|(case, (dims, batch, relu))| {
                let (x, moments, affine) = numbers(draw, &dims, batch);
                let dy = draw.real(x.shape.clone());
                let daffine = draw.real(affine.shape.clone());
                let [n, h, w, i] = dims;
                // Alternate strides and widths.
                let (stride, wider) = (1 + case % 2, 5 * (case / 2 % 2));
                let op = |shortcut| NormalizeGrad {
                    epsilon: 1e-5,
                    batch,
                    relu,
                    shortcut,
                    partial_affine: None,
                };
                let shortcut = ShortcutGrad {
                    stride,
                    input: [h, w, i],
                };
                let sum = [n, h.div_ceil(stride), w.div_ceil(stride), i + wider];
                let sum = draw.real(Shape::channels(&sum));
                let own = vec![x, dy, moments, affine, daffine];
                let both = [&own[..], &[sum]].concat();
                [
                    Sample::new(op(None), own),
                    Sample::new(op(Some(shortcut)), both),
                ]
            })
            .collect()
    }
}
