//! Gradient of a convolution with respect to its weights: see [`super::convolution`].

use super::super::Tensor;
use super::convolution::{cases, check, flops, for_each_product, sample_normalization};
use super::named::{inputs, named};
use super::normalize::{check_norm, normalized};
use super::{Draw, HalfMaps, Normalize, Operator, Sample, Window, nhwc, require};
use crate::shape::Shape;

/// (x, dy) → dw, with optional normalisation of x first.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dGradWeight {
    /// Stride and padding of the convolution.
    pub window: Window,
    /// The normalisation of x.
    pub normalize_input: Option<Normalize>,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
}

inputs! {
    /// Operands of [`Conv2dGradWeight`].
    Conv2dGradWeightInputs of Conv2dGradWeight {
        /// Input [N, H, W, I].
        x,
        /// Gradient of the output [N, P, Q, O].
        dy,
        /// Operands of the normalisation of x.
        normalize_input: norm(|op, _| op.normalize_input.is_some()),
    }
}

impl Operator for Conv2dGradWeight {
    const NAME: &'static str = "conv2d_grad_weight";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let named = self.try_inputs(inputs)?;
        let (x, dy) = (named.x, named.dy);
        let [n, h, w, i] = check(self.window, x, self.kernel)?;
        check_norm(&self.normalize_input, x, named.normalize_input)?;
        let [m, p, q, o] = nhwc(dy)?;
        let expected = [
            self.window.outputs(h, self.kernel[0]),
            self.window.outputs(w, self.kernel[1]),
        ];
        require(expected == [p, q] && n == m, || {
            format!("the output gradient must be [{n}, {expected:?}, ..]")
        })?;
        Ok(vec![Shape::weights([self.kernel[0], self.kernel[1], i, o])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let x = normalized(&self.normalize_input, named.x, named.normalize_input);
        let dy = named.dy;
        let [n, h, wide, i] = [0, 1, 2, 3].map(|axis| x.shape.dims[axis]);
        let [_, p, q, o] = [0, 1, 2, 3].map(|axis| dy.shape.dims[axis]);
        let [kh, kw] = self.kernel;
        let mut dw = vec![0.0; kh * kw * i * o];
        for_each_product(
            self.window,
            [n, h, wide, i],
            [kh, kw],
            [p, q, o],
            |x_at, w_at, y_at| {
                let x = x.values()[x_at];
                let row = &dy.values()[y_at..y_at + o];
                for (dw, dy) in dw[w_at..w_at + o].iter_mut().zip(row) {
                    *dw += x * dy;
                }
            },
        );
        vec![Tensor::real(Shape::weights([kh, kw, i, o]), dw)]
    }

    fn flops(&self, inputs: &[&Shape], outputs: &[&Shape]) -> u64 {
        flops(outputs[0], inputs[1].rows())
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .enumerate()
            .flat_map(|(number, case)| {
                let (x, dy) = (draw.real(case.x()), draw.real(case.y()));
                let op = |normalize_input| Conv2dGradWeight {
                    window: case.window(),
                    normalize_input,
                    kernel: case.kernel,
                };
                let normalize = sample_normalization(draw, number, &x);
                let mut operands = vec![x, dy];
                let plain = Sample::new(op(None), operands.clone());
                let normalized = normalize.map(|(normalize, vectors)| {
                    operands.extend(vectors);
                    Sample::new(op(Some(normalize)), operands)
                });
                [plain].into_iter().chain(normalized)
            })
            .collect()
    }
}
