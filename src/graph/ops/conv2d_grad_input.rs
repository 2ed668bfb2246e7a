//! Gradient of a convolution with respect to its input: see [`super::convolution`].

use super::super::Tensor;
use super::convolution::{cases, check, flops, for_each_product, weights};
use super::named::{inputs, named, outputs};
use super::normalize_grad_reduce::{partial_shape, partial_sums};
use super::{Draw, HalfMaps, NormalizeGradReduce, Operator, Sample, Window, nhwc, require};
use crate::shape::Shape;

/// (dy, w) → dx; optionally also the partial gradients of the scale and shift of the
/// normalisation that computes the convolution's input.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dGradInput {
    /// Stride and padding of the convolution.
    pub window: Window,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// The reduction whose partial sums are a second result.
    pub partial_affine: Option<NormalizeGradReduce>,
}

inputs! {
    /// Operands of [`Conv2dGradInput`].
    Conv2dGradInputInputs of Conv2dGradInput {
        /// Gradient of the output [N, P, Q, O].
        dy,
        /// Weights [KH, KW, I, O].
        w,
        /// Operands of the normalisation.
        norm: normalized(|op, _| op.partial_affine.is_some()),
    }
}

outputs! {
    /// Results of [`Conv2dGradInput`].
    Conv2dGradInputOutputs of Conv2dGradInput {
        /// Gradient of the input [N, H, W, I].
        dx,
        /// Partial gradients of scale and shift [2, I].
        partial_affine: optional(|op, _| op.partial_affine.is_some()),
    }
}

impl Operator for Conv2dGradInput {
    const NAME: &'static str = "conv2d_grad_input";
    const OUTPUTS: &'static [&'static str] = &["dx", "partial affine"];
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let Conv2dGradInputInputs { dy, w, norm } = self.try_inputs(inputs)?;
        let [n, p, q, c] = nhwc(dy)?;
        let [kh, kw, i, o] = weights(w)?;
        let x = Shape::channels(&[n, self.input[0], self.input[1], i]);
        check(self.window, &x, [kh, kw])?;
        let expected = [self.input[0], self.input[1]]
            .iter()
            .zip([kh, kw])
            .map(|(extent, kernel)| self.window.outputs(*extent, kernel))
            .collect::<Vec<_>>();
        require(expected == [p, q] && c == o, || {
            format!("the output gradient must be [{n}, {expected:?}, {o}]")
        })?;
        let partial_affine = partial_shape(&self.partial_affine, norm, &x)?;
        let dx = x;
        Ok(Conv2dGradInputOutputs { dx, partial_affine }.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let Conv2dGradInputInputs { dy, w, norm } = self.inputs(inputs);
        let [n, p, q, o] = [0, 1, 2, 3].map(|axis| dy.shape.dims[axis]);
        let [kh, kw, i, _] = [0, 1, 2, 3].map(|axis| w.shape.dims[axis]);
        let [h, wide] = self.input;
        let mut dx = vec![0.0; n * h * wide * i];
        for_each_product(
            self.window,
            [n, h, wide, i],
            [kh, kw],
            [p, q, o],
            |x_at, w_at, y_at| {
                let row = &w.values()[w_at..w_at + o];
                let products = row.iter().zip(&dy.values()[y_at..y_at + o]);
                dx[x_at] += products.map(|(w, dy)| w * dy).sum::<f64>();
            },
        );
        let dx = Tensor::real(Shape::channels(&[n, h, wide, i]), dx);
        let partial_affine = partial_sums(&self.partial_affine, norm, &dx);
        Conv2dGradInputOutputs { dx, partial_affine }.list()
    }

    fn flops(&self, inputs: &[&Shape], _: &[&Shape]) -> u64 {
        flops(inputs[1], inputs[0].rows())
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|case| {
                let op = Conv2dGradInput {
                    window: case.window(),
                    input: [case.size[0], case.size[1]],
                    partial_affine: None,
                };
                Sample::new(op, vec![draw.real(case.y()), draw.real(case.w())])
            })
            .collect()
    }
}
