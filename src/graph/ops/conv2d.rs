//! Two-dimensional convolution (cross-correlation, no bias) and its two gradients.
//!
//! With x [N, H, W, I], w [KH, KW, I, O] and y [N, P, Q, O]:
//!
//! ```text
//! y[n,p,q,o]  = Σ r,s,i  x[n, p·stride+r−padding, q·stride+s−padding, i] · w[r,s,i,o]
//! dx[n,h,w,i] = Σ r,s,o  dy[n, (h+padding−r)/stride, (w+padding−s)/stride, o] · w[r,s,i,o]
//! dw[r,s,i,o] = Σ n,p,q  x[n, p·stride+r−padding, q·stride+s−padding, i] · dy[n,p,q,o]
//! ```
//!
//! where cells outside an image, and fractions, contribute nothing.
//!
//! On request x is normalised before ([`Normalize`], cells outside an image stay zero), or y
//! behind: then nobody needs to store the other one.

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::normalize::{Normalize, numbers};
use super::{Draw, Operator, Sample, Window, nhwc, operands, require};
use crate::shape::{Layout, Shape};

/// (x, w) → y; with moments and affine [2, I] of x behind them if it is prepared, and behind
/// those moments and affine [2, O] of y if that is normalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// Stride and padding.
    pub window: Window,
    /// What is done to x first.
    pub normalize_input: Option<Normalize>,
    /// What is done to y, by statistics that are known before: not those of the batch.
    pub normalize: Option<Normalize>,
}

/// (dy, w) → dx.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dGradInput {
    /// Stride and padding of the convolution.
    pub window: Window,
    /// Rows and columns of x.
    pub input: [usize; 2],
}

/// (x, dy) → dw; with moments and affine [2, I] of x behind them if it is prepared.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dGradWeight {
    /// Stride and padding of the convolution.
    pub window: Window,
    /// What is done to x first.
    pub normalize_input: Option<Normalize>,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
}

/// Visits every product: flat positions in x, w and y, of runs along O.
fn for_each_product(
    window: Window,
    [n, h, w, i]: [usize; 4],
    [kh, kw]: [usize; 2],
    [p, q, o]: [usize; 3],
    mut visit: impl FnMut(usize, usize, usize),
) {
    for n in 0..n {
        for p_at in 0..p {
            for q_at in 0..q {
                let y = ((n * p + p_at) * q + q_at) * o;
                for r in 0..kh {
                    let Some(h_at) = window.source(p_at, r, h) else {
                        continue;
                    };
                    for s in 0..kw {
                        let Some(w_at) = window.source(q_at, s, w) else {
                            continue;
                        };
                        let x = ((n * h + h_at) * w + w_at) * i;
                        for i_at in 0..i {
                            visit(x + i_at, ((r * kw + s) * i + i_at) * o, y);
                        }
                    }
                }
            }
        }
    }
}

fn check(window: Window, x: &Shape, kernel: [usize; 2]) -> Result<[usize; 4], String> {
    let x = nhwc(x)?;
    require(window.stride > 0 && kernel[0] > 0 && kernel[1] > 0, || {
        "stride and kernel must be positive".to_owned()
    })?;
    for (extent, kernel) in [(x[1], kernel[0]), (x[2], kernel[1])] {
        require(extent + 2 * window.padding >= kernel, || {
            format!(
                "an image of {extent} with padding {} is smaller than the kernel of {kernel}",
                window.padding
            )
        })?;
    }
    Ok(x)
}

fn weights(shape: &Shape) -> Result<[usize; 4], String> {
    require(shape.layout == Layout::Weights, || {
        format!("takes weights [KH, KW, I, O], not {shape}")
    })?;
    nhwc(shape)
}

/// Checks what a convolution is prepared with, and returns the operands behind that.
fn check_input_normalization<'s, 't>(
    normalize_input: &Option<Normalize>,
    x: &Shape,
    vectors: &'s [&'t Shape],
) -> Result<&'s [&'t Shape], String> {
    let Some(normalize) = normalize_input else {
        return Ok(vectors);
    };
    let (own, rest) = vectors.split_at(vectors.len().min(2));
    let [moments, affine] = operands(own)?;
    normalize.infer(&[x, moments, affine])?;
    Ok(rest)
}

/// x as the products see it, and the operands behind what it is prepared with.
fn normalized_input<'s, 't>(
    normalize_input: &Option<Normalize>,
    x: &Tensor,
    vectors: &'s [&'t Tensor],
) -> (Tensor, &'s [&'t Tensor]) {
    match normalize_input {
        Some(normalize) => {
            let x = normalize.reference(&[x, vectors[0], vectors[1]]);
            (x.into_iter().next().expect("one result"), &vectors[2..])
        }
        None => (x.clone(), vectors),
    }
}

fn flops(weights: &Shape, pixels: usize) -> u64 {
    2 * weights.len() as u64 * pixels as u64
}

impl Operator for Conv2d {
    const NAME: &'static str = "conv2d";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (product, vectors) = inputs.split_at(inputs.len().min(2));
        let [x, w] = operands(product)?;
        let [kh, kw, i, o] = weights(w)?;
        let [n, h, w, c] = check(self.window, x, [kh, kw])?;
        require(c == i, || {
            format!("the image has {c} channels, the weights take {i}")
        })?;
        let vectors = check_input_normalization(&self.normalize_input, x, vectors)?;
        let (p, q) = (self.window.outputs(h, kh), self.window.outputs(w, kw));
        let y = Shape::channels(&[n, p, q, o]);
        match &self.normalize {
            Some(normalize) => {
                let [moments, affine] = operands(vectors)?;
                require(!normalize.batch, || {
                    "a batch's own statistics are not known before its convolution".to_owned()
                })?;
                normalize.infer(&[&y, moments, affine])
            }
            None => require(vectors.is_empty(), || {
                format!("takes 2 operands, not {}", inputs.len())
            })
            .map(|()| vec![y]),
        }
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (x, vectors) = normalized_input(&self.normalize_input, inputs[0], &inputs[2..]);
        let w = inputs[1];
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
        match &self.normalize {
            Some(normalize) => normalize.reference(&[&y, vectors[0], vectors[1]]),
            None => vec![y],
        }
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        if self.normalize.is_some() {
            // Its gradient needs y, which is nowhere: networks that train do not fuse it.
            return Err(GraphError::NotDifferentiable {
                op: Self::NAME,
                name: tape.graph.value(node.outputs[0]).name.clone(),
            });
        }
        let (x, w, vectors) = (node.inputs[0], node.inputs[1], &node.inputs[2..]);
        let mut gradients = vec![None; node.inputs.len()];
        let Some(dy) = upstream[0] else {
            return Ok(gradients);
        };
        if tape.wants(w) {
            let dims = &tape.graph.shape(w).dims;
            let op = Conv2dGradWeight {
                window: self.window,
                normalize_input: self.normalize_input.clone(),
                kernel: [dims[0], dims[1]],
            };
            gradients[1] = Some(tape.push_one(op, &[&[x, dy], vectors].concat(), w)?);
        }
        if tape.wants(x) || vectors.iter().any(|id| tape.wants(*id)) {
            let dims = &tape.graph.shape(x).dims;
            let op = Conv2dGradInput {
                window: self.window,
                input: [dims[1], dims[2]],
            };
            let dx = tape.push_one(op, &[dy, w], x)?;
            match &self.normalize_input {
                Some(normalize) => {
                    let operands = [x, vectors[0], vectors[1]];
                    let [dx, dmoments, daffine] = normalize.backward(tape, operands, dx)?;
                    gradients = vec![dx, gradients[1], dmoments, daffine];
                }
                None => gradients[0] = Some(dx),
            }
        }
        Ok(gradients)
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
                let op = |normalize_input, normalize| Conv2d {
                    window,
                    normalize_input,
                    normalize,
                };
                let mut samples = vec![Sample::new(op(None, None), vec![x.clone(), w.clone()])];
                // Each sample has kernels of its own to compile, so few have other forms.
                let Some((own, vectors)) = preparation(draw, number, &x) else {
                    return samples;
                };
                let mut operands = vec![x, w];
                operands.extend(vectors);
                if number % 6 == 2 {
                    samples.push(Sample::new(op(Some(own), None), operands));
                } else {
                    let (_, moments, affine) = numbers(draw, &case.y().dims, false);
                    let normalize = Normalize {
                        epsilon: 1e-5,
                        batch: false,
                        relu: number.is_multiple_of(2),
                    };
                    operands.extend([moments, affine]);
                    samples.push(Sample::new(op(Some(own), Some(normalize)), operands));
                }
                samples
            })
            .collect()
    }
}

impl Operator for Conv2dGradInput {
    const NAME: &'static str = "conv2d_grad_input";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [dy, w] = operands(inputs)?;
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
        Ok(vec![x])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let (dy, w) = (inputs[0], inputs[1]);
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
        vec![Tensor::real(Shape::channels(&[n, h, wide, i]), dx)]
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
                };
                Sample::new(op, vec![draw.real(case.y()), draw.real(case.w())])
            })
            .collect()
    }
}

impl Operator for Conv2dGradWeight {
    const NAME: &'static str = "conv2d_grad_weight";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (product, vectors) = inputs.split_at(inputs.len().min(2));
        let [x, dy] = operands(product)?;
        let [n, h, w, i] = check(self.window, x, self.kernel)?;
        let rest = check_input_normalization(&self.normalize_input, x, vectors)?;
        require(rest.is_empty(), || {
            format!("does not take {} operands", inputs.len())
        })?;
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
        let (x, _) = normalized_input(&self.normalize_input, inputs[0], &inputs[2..]);
        let dy = inputs[1];
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
                let own = preparation(draw, number, &x);
                let mut operands = vec![x, dy];
                let plain = Sample::new(op(None), operands.clone());
                let prepared = own.map(|(own, vectors)| {
                    operands.extend(vectors);
                    Sample::new(op(Some(own)), operands)
                });
                [plain].into_iter().chain(prepared)
            })
            .collect()
    }
}

/// What some samples are prepared with: the normalisation, and its operands.
fn preparation(draw: &mut Draw, number: usize, x: &Tensor) -> Option<(Normalize, [Tensor; 2])> {
    let (_, moments, affine) = numbers(draw, &x.shape.dims, false);
    let normalize = Normalize {
        epsilon: 1e-5,
        batch: number == 2,
        relu: number.is_multiple_of(4),
    };
    let some = number.is_multiple_of(3) || number % 6 == 2;
    some.then_some((normalize, [moments, affine]))
}

/// One row of the table of sample shapes.
struct Case {
    batch: usize,
    size: [usize; 2],
    channels: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

impl Case {
    fn window(&self) -> Window {
        Window {
            stride: self.stride,
            padding: self.padding,
        }
    }

    fn x(&self) -> Shape {
        let [h, w] = self.size;
        Shape::channels(&[self.batch, h, w, self.channels[0]])
    }

    fn w(&self) -> Shape {
        let [kh, kw] = self.kernel;
        Shape::weights([kh, kw, self.channels[0], self.channels[1]])
    }

    fn y(&self) -> Shape {
        let outputs = |axis: usize| self.window().outputs(self.size[axis], self.kernel[axis]);
        Shape::channels(&[self.batch, outputs(0), outputs(1), self.channels[1]])
    }
}

/// One, odd, larger than any tile, PyramidNet's own widths, every kernel of the family.
fn cases() -> impl Iterator<Item = Case> {
    [
        (1, [1, 1], [1, 1], [1, 1], 1, 0),
        (1, [1, 1], [3, 10], [3, 3], 1, 1),
        (2, [7, 5], [3, 16], [3, 3], 1, 1),
        (3, [9, 9], [16, 17], [3, 3], 1, 1),
        (2, [8, 8], [17, 20], [3, 3], 2, 1),
        (1, [7, 7], [18, 21], [3, 3], 2, 1),
        (2, [6, 6], [5, 9], [1, 1], 2, 0),
        (1, [12, 11], [40, 47], [1, 1], 1, 0),
        (1, [15, 15], [3, 8], [7, 7], 2, 3),
        (5, [1, 1], [76, 100], [1, 1], 1, 0),
        (1, [33, 3], [4, 4], [3, 3], 1, 1),
        (1, [10, 8], [6, 7], [5, 4], 3, 2),
        (1, [4, 4], [130, 68], [3, 3], 1, 1),
    ]
    .into_iter()
    .map(|(batch, size, channels, kernel, stride, padding)| Case {
        batch,
        size,
        channels,
        kernel,
        stride,
        padding,
    })
}
