//! Gradient of the zero-padded shortcut with respect to its input: see [`super::shortcut`].

use super::super::Tensor;
use super::named::{inputs, named};
use super::shortcut::{cases, check, window};
use super::{Draw, HalfMaps, Operator, Sample, nhwc};
use crate::shape::Shape;

/// dy [N, P, Q, O] → dx [N, H, W, I].
#[derive(Clone, Debug, PartialEq)]
pub struct ShortcutGrad {
    /// As in [`super::ShortcutAdd`].
    pub stride: usize,
    /// Height, width and channels of x.
    pub input: [usize; 3],
}

inputs! {
    /// Operands of [`ShortcutGrad`].
    ShortcutGradInputs of ShortcutGrad {
        /// Gradient of the sum [N, P, Q, O].
        dy,
    }
}

impl Operator for ShortcutGrad {
    const NAME: &'static str = "shortcut_grad";
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let ShortcutGradInputs { dy } = self.try_inputs(inputs)?;
        let y = nhwc(dy)?;
        let [h, w, i] = self.input;
        check(self.stride, y, [y[0], h, w, i])?;
        Ok(vec![Shape::channels(&[y[0], h, w, i])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let ShortcutGradInputs { dy } = self.inputs(inputs);
        let [n, p, q, o] = [0, 1, 2, 3].map(|axis| dy.shape.dims[axis]);
        let [h, w, i] = self.input;
        let dy = dy.values();
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
