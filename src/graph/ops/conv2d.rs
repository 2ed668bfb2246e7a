//! Two-dimensional convolution (cross-correlation, no bias): see [`super::convolution`].

use super::super::{GraphError, Node, Tensor, ValueId};
use super::batch_moments::{partial, partial_shape};
use super::batch_norm::numbers;
use super::conv2d_grad_input::Conv2dGradInputInputs;
use super::conv2d_grad_weight::Conv2dGradWeightInputs;
use super::convolution::{cases, check, flops, for_each_product, sample_normalization, weights};
use super::named::{inputs, named, outputs};
use super::normalize::{NormalizeInputs, check_norm, normalized};
use super::tape::Tape;
use super::{
    Conv2dGradInput, Conv2dGradWeight, Draw, HalfMaps, Normalize, Operator, Sample, Window, require,
};
use crate::shape::Shape;

/// (x, w) → y, with optional normalisation of x before and of y after the convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// Stride and padding.
    pub window: Window,
    /// The normalisation of x.
    pub normalize_input: Option<Normalize>,
    /// The normalisation of y, by running statistics: those of the batch are not known yet.
    pub normalize_output: Option<Normalize>,
    /// Whether the partial moments of y are a second result.
    pub partial_moments: bool,
}

impl Conv2d {
    /// Without normalisation or statistics.
    pub fn new(window: Window) -> Conv2d {
        Conv2d {
            window,
            normalize_input: None,
            normalize_output: None,
            partial_moments: false,
        }
    }
}

inputs! {
    /// Operands of [`Conv2d`].
    Conv2dInputs of Conv2d {
        /// Input [N, H, W, I].
        x,
        /// Weights [KH, KW, I, O].
        w,
        /// Operands of the normalisation of x.
        normalize_input: norm(|op, _| op.normalize_input.is_some()),
        /// Operands of the normalisation of y.
        normalize_output: norm(|op, _| op.normalize_output.is_some()),
    }
}

outputs! {
    /// Results of [`Conv2d`].
    Conv2dOutputs of Conv2d {
        /// Output [N, P, Q, O].
        y,
        /// Partial moments of y [3, O].
        partial_moments: optional(|op, _| op.partial_moments),
    }
}

impl Operator for Conv2d {
    const NAME: &'static str = "conv2d";
    const OUTPUTS: &'static [&'static str] = &["y", "partial moments"];
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let named = self.try_inputs(inputs)?;
        let (x, w) = (named.x, named.w);
        let [kh, kw, i, o] = weights(w)?;
        let [n, h, w, c] = check(self.window, x, [kh, kw])?;
        require(c == i, || {
            format!("the input has {c} channels, the weights need {i}")
        })?;
        check_norm(&self.normalize_input, x, named.normalize_input)?;
        let (p, q) = (self.window.outputs(h, kh), self.window.outputs(w, kw));
        let y = Shape::channels(&[n, p, q, o]);
        let of_batch = |normalize: &Normalize| normalize.batch;
        require(
            !self.normalize_output.as_ref().is_some_and(of_batch),
            || "the output needs running statistics, not those of the batch".to_owned(),
        )?;
        check_norm(&self.normalize_output, &y, named.normalize_output)?;
        let partial_moments = self.partial_moments.then(|| partial_shape(y.last()));
        Ok(Conv2dOutputs { y, partial_moments }.list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let named = self.inputs(inputs);
        let (x, w) = (
            normalized(&self.normalize_input, named.x, named.normalize_input),
            named.w,
        );
        let [n, h, wide, i] = [0, 1, 2, 3].map(|axis| x.shape.dims[axis]);
        let [kh, kw, _, o] = [0, 1, 2, 3].map(|axis| w.shape.dims[axis]);
        let (p, q) = (self.window.outputs(h, kh), self.window.outputs(wide, kw));
        let mut y = vec![0.0; n * p * q * o];
        for_each_product(
            self.window,
            [n, h, wide, i],
            [kh, kw],
            [p, q, o],
            |x_at, w_at, y_at| {
                let x = x.values()[x_at];
                let row = &w.values()[w_at..w_at + o];
                for (y, w) in y[y_at..y_at + o].iter_mut().zip(row) {
                    *y += x * w;
                }
            },
        );
        let y = Tensor::real(Shape::channels(&[n, p, q, o]), y);
        let y = normalized(&self.normalize_output, &y, named.normalize_output);
        let partial_moments = self.partial_moments.then(|| partial(&y));
        Conv2dOutputs { y, partial_moments }.list()
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        if self.normalize_output.is_some() {
            // The gradient needs y before normalisation, which is not stored; only inference
            // fuses it.
            return Err(GraphError::NotDifferentiable {
                op: Self::NAME,
                name: tape.graph.value(node.outputs[0]).name.clone(),
            });
        }
        let Some(dy) = self.outputs(upstream).y else {
            return Ok(vec![None; node.inputs.len()]);
        };
        let named = self.inputs(&node.inputs);
        let (x, w, norm) = (named.x, named.w, named.normalize_input);
        let mut gradients = Conv2dInputs {
            x: None,
            w: None,
            normalize_input: None,
            normalize_output: None,
        };
        if tape.wants(w) {
            let dims = &tape.graph.shape(w).dims;
            let op = Conv2dGradWeight {
                window: self.window,
                normalize_input: self.normalize_input.clone(),
                kernel: [dims[0], dims[1]],
            };
            let operands = Conv2dGradWeightInputs {
                x,
                dy,
                normalize_input: norm,
            };
            gradients.w = Some(tape.push_one(op, &operands.list(), w)?);
        }
        let wants_norm = norm.is_some_and(|n| tape.wants(n.moments) || tape.wants(n.affine));
        if tape.wants(x) || wants_norm {
            let dims = &tape.graph.shape(x).dims;
            let op = Conv2dGradInput {
                window: self.window,
                input: [dims[1], dims[2]],
                partial_affine: None,
            };
            let operands = Conv2dGradInputInputs { dy, w, norm: None };
            let dx = tape.push_one(op, &operands.list(), x)?;
            match (&self.normalize_input, norm) {
                (Some(normalize), Some(norm)) => {
                    let operands = NormalizeInputs { x, norm };
                    let NormalizeInputs { x, norm } = normalize.backward(tape, operands, dx)?;
                    gradients.x = x;
                    gradients.normalize_input = Some(norm);
                }
                _ => gradients.x = Some(dx),
            }
        }
        Ok(gradients.list())
    }

    fn flops(&self, inputs: &[&Shape], outputs: &[&Shape]) -> u64 {
        flops(inputs[1], outputs[0].rows())
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .enumerate()
            .flat_map(|(number, case)| {
                let (x, w) = (draw.real(case.x()), draw.real(case.w()));
                let window = case.window();
                let op = |normalize_input, normalize_output| Conv2d {
                    window,
                    normalize_input,
                    normalize_output,
                    partial_moments: false,
                };
                let mut samples = vec![Sample::new(op(None, None), vec![x.clone(), w.clone()])];
                // Each sample compiles its own kernels, so only some have the fused variants.
                let Some((normalize, vectors)) = sample_normalization(draw, number, &x) else {
                    return samples;
                };
                let mut operands = vec![x, w];
                operands.extend(vectors);
                if number % 6 == 2 {
                    samples.push(Sample::new(op(Some(normalize), None), operands));
                } else {
                    let (_, moments, affine) = numbers(draw, &case.y().dims, false);
                    let normalize_output = Normalize {
                        epsilon: 1e-5,
                        batch: false,
                        relu: number.is_multiple_of(2),
                    };
                    operands.extend([moments, affine]);
                    let op = op(Some(normalize), Some(normalize_output));
                    samples.push(Sample::new(op, operands));
                }
                samples
            })
            .collect()
    }
}
