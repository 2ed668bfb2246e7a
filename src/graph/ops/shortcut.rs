//! The zero-padded shortcut of PyramidNet (section 3.4 of the paper): the unit's input,
//! averaged over 2x2 windows where the unit halves the map, is added to the first channels
//! of the branch; the channels that the unit adds receive nothing.
//!
//! At odd sizes the last window has fewer cells and averages only those (ceil mode), which
//! is what fits the size of a strided convolution.

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::normalize::{Normalize, numbers};
use super::{Draw, Operator, Sample, nhwc, operands, require};
use crate::shape::Shape;

/// (branch [N, P, Q, O], x [N, H, W, I]) → branch + pad(pool(x)); or, with the branch's
/// moments and affine [2, O] behind them, normalize(branch) + pad(pool(x)).
#[derive(Clone, Debug, PartialEq)]
pub struct ShortcutAdd {
    /// 1: no pooling; 2: 2x2 average pooling.
    pub stride: usize,
    /// What is done to the branch first; without ReLU.
    pub normalize: Option<Normalize>,
}

/// dy [N, P, Q, O] → dx [N, H, W, I].
#[derive(Clone, Debug, PartialEq)]
pub struct ShortcutGrad {
    /// As in [`ShortcutAdd`].
    pub stride: usize,
    /// Rows, columns and channels of x.
    pub input: [usize; 3],
}

/// Cells of the window at `at` along an axis of `extent`.
fn window(at: usize, stride: usize, extent: usize) -> std::ops::Range<usize> {
    at * stride..((at + 1) * stride).min(extent)
}

fn check(stride: usize, y: [usize; 4], x: [usize; 4]) -> Result<(), String> {
    require(stride == 1 || stride == 2, || {
        format!("stride is 1 or 2, not {stride}")
    })?;
    let expected = [x[1].div_ceil(stride), x[2].div_ceil(stride)];
    require(y[0] == x[0] && [y[1], y[2]] == expected, || {
        format!("the branch must have a map of {expected:?}")
    })?;
    require(y[3] >= x[3], || {
        format!("the branch has {} channels, fewer than {}", y[3], x[3])
    })
}

impl Operator for ShortcutAdd {
    const NAME: &'static str = "shortcut_add";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let (sum, vectors) = inputs.split_at(inputs.len().min(2));
        let [branch, x] = operands(sum)?;
        check(self.stride, nhwc(branch)?, nhwc(x)?)?;
        match &self.normalize {
            Some(normalize) => {
                let [moments, affine] = operands(vectors)?;
                require(!normalize.relu, || "the branch has no ReLU".to_owned())?;
                normalize.infer(&[branch, moments, affine])
            }
            None => require(vectors.is_empty(), || {
                format!("takes 2 operands, not {}", inputs.len())
            })
            .map(|()| vec![branch.clone()]),
        }
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [_, p, q, o] = [0, 1, 2, 3].map(|axis| inputs[0].shape.dims[axis]);
        let [_, h, w, i] = [0, 1, 2, 3].map(|axis| inputs[1].shape.dims[axis]);
        let x = inputs[1].values();
        let branch = match &self.normalize {
            Some(normalize) => normalize
                .reference(&[inputs[0], inputs[2], inputs[3]])
                .remove(0),
            None => inputs[0].clone(),
        };
        let cells = branch.values().iter().enumerate();
        let values = cells.map(|(cell, branch)| {
            let (o_at, q_at) = (cell % o, cell / o % q);
            let (p_at, n) = (cell / o / q % p, cell / o / q / p);
            if o_at >= i {
                return *branch;
            }
            let (rows, columns) = (window(p_at, self.stride, h), window(q_at, self.stride, w));
            let count = (rows.len() * columns.len()) as f64;
            let mut sum = 0.0;
            for row in rows {
                for column in columns.clone() {
                    sum += x[((n * h + row) * w + column) * i + o_at];
                }
            }
            branch + sum / count
        });
        vec![Tensor::real(inputs[0].shape.clone(), values.collect())]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let (Some(dy), x) = (upstream[0], node.inputs[1]) else {
            return Ok(vec![None; node.inputs.len()]);
        };
        let mut gradients = vec![Some(dy), None];
        if tape.wants(x) {
            let dims = &tape.graph.shape(x).dims;
            let op = ShortcutGrad {
                stride: self.stride,
                input: [dims[1], dims[2], dims[3]],
            };
            // An identity shortcut hands its gradient on as it is.
            gradients[1] = match self.stride == 1 && tape.graph.shape(dy) == tape.graph.shape(x) {
                true => Some(dy),
                false => Some(tape.push_one(op, &[dy], x)?),
            };
        }
        if let Some(normalize) = &self.normalize {
            let operands = [0, 2, 3].map(|i| node.inputs[i]);
            let [branch, moments, affine] = normalize.backward(tape, operands, dy)?;
            gradients[0] = branch;
            gradients.extend([moments, affine]);
        }
        Ok(gradients)
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .enumerate()
            .flat_map(|(case, (batch, [h, w, i], o, stride))| {
                let dims = [batch, h.div_ceil(stride), w.div_ceil(stride), o];
                let of_batch = case % 2 == 1;
                let (branch, moments, affine) = numbers(draw, &dims, of_batch);
                let x = draw.real(Shape::channels(&[batch, h, w, i]));
                let op = |normalize| ShortcutAdd { stride, normalize };
                let normalize = Normalize {
                    epsilon: 1e-5,
                    batch: of_batch,
                    relu: false,
                };
                let plain = vec![branch, x];
                let normalized = [&plain[..], &[moments, affine]].concat();
                [
                    Sample::new(op(None), plain),
                    Sample::new(op(Some(normalize)), normalized),
                ]
            })
            .collect()
    }
}

impl Operator for ShortcutGrad {
    const NAME: &'static str = "shortcut_grad";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [dy] = operands(inputs)?;
        let y = nhwc(dy)?;
        let [h, w, i] = self.input;
        check(self.stride, y, [y[0], h, w, i])?;
        Ok(vec![Shape::channels(&[y[0], h, w, i])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let [n, p, q, o] = [0, 1, 2, 3].map(|axis| inputs[0].shape.dims[axis]);
        let [h, w, i] = self.input;
        let dy = inputs[0].values();
        let values = (0..n * h * w * i).map(|cell| {
            let (i_at, w_at) = (cell % i, cell / i % w);
            let (h_at, n) = (cell / i / w % h, cell / i / w / h);
            let (p_at, q_at) = (h_at / self.stride, w_at / self.stride);
            let count = window(p_at, self.stride, h).len() * window(q_at, self.stride, w).len();
            dy[((n * p + p_at) * q + q_at) * o + i_at] / count as f64
        });
        let shape = Shape::channels(&[n, h, w, i]);
        vec![Tensor::real(shape, values.collect())]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(batch, [h, w, i], o, stride)| {
                let dims = [batch, h.div_ceil(stride), w.div_ceil(stride), o];
                let op = ShortcutGrad {
                    stride,
                    input: [h, w, i],
                };
                Sample::new(op, vec![draw.real(Shape::channels(&dims))])
            })
            .collect()
    }
}

fn cases() -> impl Iterator<Item = (usize, [usize; 3], usize, usize)> {
    [
        (1, [1, 1, 1], 1, 1),
        (2, [5, 4, 16], 17, 1),
        (2, [5, 4, 18], 20, 1),
        (2, [8, 8, 20], 29, 2),
        (1, [7, 5, 3], 9, 2),
        (3, [9, 6, 40], 40, 1),
    ]
    .into_iter()
}
