//! Gradient of max pooling: it flows to the maximum of each window.

use super::super::Tensor;
use super::named::{inputs, named};
use super::pooling::{Pooling, argmax_of, cases, maxima};
use super::{Draw, HalfMaps, Operator, Sample, nhwc, require};
use crate::shape::{Layout, Shape};

/// (dy, argmax) → dx [N, H, W, C].
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPoolGrad {
    /// The geometry of the pooling.
    pub pooling: Pooling,
    /// Height and width of x.
    pub input: [usize; 2],
}

inputs! {
    /// Operands of [`MaxPoolGrad`].
    MaxPoolGradInputs of MaxPoolGrad {
        /// Gradient of the maxima [N, P, Q, C].
        dy,
        /// Index of each maximum in its window, row-major, u32 [N, P, Q, C].
        argmax,
    }
}

impl Operator for MaxPoolGrad {
    const NAME: &'static str = "max_pool_grad";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let MaxPoolGradInputs { dy, argmax } = self.try_inputs(inputs)?;
        let [n, p, q, c] = nhwc(dy)?;
        let [h, w] = self.input;
        let expected = [h, w].map(|extent| self.pooling.outputs(extent));
        require(
            expected == [p, q] && argmax.dims == dy.dims && argmax.layout == Layout::Channels,
            || format!("needs gradients and argmax indices [{n}, {expected:?}, {c}]"),
        )?;
        Ok(vec![Shape::channels(&[n, h, w, c])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let MaxPoolGradInputs { dy, argmax } = self.inputs(inputs);
        let dims = &dy.shape.dims;
        let (p, q, c) = (dims[1], dims[2], dims[3]);
        let [h, w] = self.input;
        let mut dx = vec![0.0; dims[0] * h * w * c];
        let cells = dy.values().iter().zip(argmax.indices());
        for (cell, (dy, argmax)) in cells.enumerate() {
            let (c_at, q_at, p_at, n_at) =
                (cell % c, cell / c % q, cell / c / q % p, cell / c / q / p);
            let Pooling { kernel, window, .. } = self.pooling;
            let tap = *argmax as usize;
            let row = window.input_index(p_at, tap / kernel, h);
            let column = window.input_index(q_at, tap % kernel, w);
            if let (Some(row), Some(column)) = (row, column) {
                dx[((n_at * h + row) * w + column) * c + c_at] += dy;
            }
        }
        vec![Tensor::real(Shape::channels(&[dims[0], h, w, c]), dx)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, pooling)| {
                let x = draw.real(Shape::channels(&dims));
                let size = [1, 2].map(|axis| pooling.outputs(dims[axis]));
                let pooled = Shape::channels(&[dims[0], size[0], size[1], dims[3]]);
                let (_, indices) = maxima(&x, pooling, size);
                let argmax = Tensor::index(argmax_of(&pooled), indices);
                let dy = draw.real(pooled);
                let op = MaxPoolGrad {
                    pooling,
                    input: [dims[1], dims[2]],
                };
                Sample::new(op, vec![dy, argmax])
            })
            .collect()
    }
}
