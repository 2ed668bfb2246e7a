//! Max-pooling with padding that counts as minus infinity, and its gradient.
//!
//! The first maximum of a window, in row-major order, takes the gradient; a NaN counts as
//! larger than everything, so that it stays visible.

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::{Draw, Operator, Sample, Window, nhwc, operands, require};
use crate::shape::{Layout, Shape};

/// x [N, H, W, C] → (maximum [N, P, Q, C], place of the maximum in its window, row-major).
///
/// Argmax indices are u32 in the layout of activations.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool {
    /// Rows and columns of the window.
    pub kernel: usize,
    /// Stride and padding.
    pub window: Window,
}

/// (dy, argmax) → dx [N, H, W, C].
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPoolGrad {
    /// Rows and columns of the window.
    pub kernel: usize,
    /// Stride and padding.
    pub window: Window,
    /// Rows and columns of x.
    pub input: [usize; 2],
}

/// Shape of the argmax that belong to a pooled shape.
fn argmax_of(pooled: &Shape) -> Shape {
    Shape {
        dtype: crate::shape::DType::U32,
        ..pooled.clone()
    }
}

impl Operator for MaxPool {
    const NAME: &'static str = "max_pool";
    const OUTPUTS: &'static [&'static str] = &["maximum", "argmax"];

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [n, h, w, c] = nhwc(operands::<1>(inputs)?[0])?;
        // A window that lies wholly in the padding would have no maximum.
        require(
            self.window.stride > 0 && self.window.padding < self.kernel,
            || "stride must be positive and padding smaller than the window".to_owned(),
        )?;
        require(h.min(w) + 2 * self.window.padding >= self.kernel, || {
            format!("the map is smaller than the window of {}", self.kernel)
        })?;
        let pooled = Shape::channels(&[
            n,
            self.window.outputs(h, self.kernel),
            self.window.outputs(w, self.kernel),
            c,
        ]);
        Ok(vec![pooled.clone(), argmax_of(&pooled)])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let x = inputs[0];
        let [n, h, w, c] = [0, 1, 2, 3].map(|axis| x.shape.dims[axis]);
        let shapes = self.infer(&[&x.shape]).expect("shapes were checked");
        let (p, q) = (shapes[0].dims[1], shapes[0].dims[2]);
        let mut maxima = Vec::with_capacity(shapes[0].len());
        let mut argmax = Vec::with_capacity(shapes[0].len());
        for cell in 0..n * p * q * c {
            let (c_at, q_at, p_at, n_at) =
                (cell % c, cell / c % q, cell / c / q % p, cell / c / q / p);
            let mut best: Option<(f64, u32)> = None;
            for tap in 0..self.kernel * self.kernel {
                let row = self.window.source(p_at, tap / self.kernel, h);
                let column = self.window.source(q_at, tap % self.kernel, w);
                let (Some(row), Some(column)) = (row, column) else {
                    continue;
                };
                let value = x.values()[((n_at * h + row) * w + column) * c + c_at];
                let wins = best.is_none_or(|(b, _)| value > b || (value.is_nan() && !b.is_nan()));
                if wins {
                    best = Some((value, tap as u32));
                }
            }
            let (maximum, place) = best.expect("every window reaches into the map");
            maxima.push(maximum);
            argmax.push(place);
        }
        vec![
            Tensor::real(shapes[0].clone(), maxima),
            Tensor::index(shapes[1].clone(), argmax),
        ]
    }

    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let Some(dy) = upstream[0] else {
            return Ok(vec![None]);
        };
        let dims = &tape.graph.shape(node.inputs[0]).dims;
        let op = MaxPoolGrad {
            kernel: self.kernel,
            window: self.window,
            input: [dims[1], dims[2]],
        };
        let dx = tape.push_one(op, &[dy, node.outputs[1]], node.inputs[0])?;
        Ok(vec![Some(dx)])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, kernel, window)| {
                let x = draw.real(Shape::channels(&dims));
                Sample::new(MaxPool { kernel, window }, vec![x])
            })
            .collect()
    }
}

impl Operator for MaxPoolGrad {
    const NAME: &'static str = "max_pool_grad";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [dy, argmax] = operands(inputs)?;
        let [n, p, q, c] = nhwc(dy)?;
        let [h, w] = self.input;
        let expected = [h, w].map(|extent| self.window.outputs(extent, self.kernel));
        require(
            expected == [p, q] && argmax.dims == dy.dims && argmax.layout == Layout::Channels,
            || format!("takes gradients and argmax [{n}, {expected:?}, {c}]"),
        )?;
        Ok(vec![Shape::channels(&[n, h, w, c])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let dims = &inputs[0].shape.dims;
        let (p, q, c) = (dims[1], dims[2], dims[3]);
        let [h, w] = self.input;
        let mut dx = vec![0.0; dims[0] * h * w * c];
        let cells = inputs[0].values().iter().zip(inputs[1].indices());
        for (cell, (dy, place)) in cells.enumerate() {
            let (c_at, q_at, p_at, n_at) =
                (cell % c, cell / c % q, cell / c / q % p, cell / c / q / p);
            let tap = *place as usize;
            let row = self.window.source(p_at, tap / self.kernel, h);
            let column = self.window.source(q_at, tap % self.kernel, w);
            if let (Some(row), Some(column)) = (row, column) {
                dx[((n_at * h + row) * w + column) * c + c_at] += dy;
            }
        }
        vec![Tensor::real(Shape::channels(&[dims[0], h, w, c]), dx)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, kernel, window)| {
                let x = draw.real(Shape::channels(&dims));
                let pooled = MaxPool { kernel, window }.reference(&[&x]);
                let dy = draw.real(pooled[0].shape.clone());
                let op = MaxPoolGrad {
                    kernel,
                    window,
                    input: [dims[1], dims[2]],
                };
                Sample::new(op, vec![dy, pooled[1].clone()])
            })
            .collect()
    }
}

fn cases() -> impl Iterator<Item = ([usize; 4], usize, Window)> {
    [
        ([1, 1, 1, 1], 3, 2, 1),
        ([2, 8, 8, 5], 3, 2, 1),
        ([1, 7, 9, 64], 3, 2, 1),
        ([1, 6, 6, 3], 2, 2, 0),
    ]
    .into_iter()
    .map(|(dims, kernel, stride, padding)| (dims, kernel, Window { stride, padding }))
}
