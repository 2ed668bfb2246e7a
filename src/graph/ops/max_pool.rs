//! Max pooling; the padding counts as minus infinity.
//!
//! The gradient flows to the first maximum of a window in row-major order. A NaN counts as larger
//! than every number, so that it propagates.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::max_pool_grad::MaxPoolGradInputs;
use super::named::{inputs, named, outputs};
use super::pooling::{Pooling, argmax_of, cases, maxima};
use super::tape::Tape;
use super::{Draw, HalfMaps, MaxPoolGrad, Operator, Sample, nhwc, require};
use crate::shape::Shape;

/// x [N, H, W, C] → (maximum [N, P, Q, C], argmax u32 [N, P, Q, C]).
///
/// Argmax indices are row-major within the window, in the memory layout of activations.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool {
    /// The geometry.
    pub pooling: Pooling,
}

inputs! {
    /// Operands of [`MaxPool`].
    MaxPoolInputs of MaxPool {
        /// Feature maps [N, H, W, C].
        x,
    }
}

outputs! {
    /// Results of [`MaxPool`].
    MaxPoolOutputs of MaxPool {
        /// Maximum of each window [N, P, Q, C].
        maximum,
        /// Index of the maximum in its window, row-major, u32 [N, P, Q, C].
        argmax,
    }
}

impl Operator for MaxPool {
    const NAME: &'static str = "max_pool";
    const OUTPUTS: &'static [&'static str] = &["maximum", "argmax"];
    const HALF: HalfMaps = HalfMaps::All;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [n, h, w, c] = nhwc(self.try_inputs(inputs)?.x)?;
        // A window entirely inside the padding would have no maximum.
        require(
            self.pooling.window.stride > 0 && self.pooling.window.padding < self.pooling.kernel,
            || "needs stride > 0 and padding smaller than the window".to_owned(),
        )?;
        require(
            h.min(w) + 2 * self.pooling.window.padding >= self.pooling.kernel,
            || {
                format!(
                    "the input is smaller than the window of {}",
                    self.pooling.kernel
                )
            },
        )?;
        let pooled = Shape::channels(&[n, self.pooling.outputs(h), self.pooling.outputs(w), c]);
        let argmax = argmax_of(&pooled);
        Ok(MaxPoolOutputs {
            maximum: pooled,
            argmax,
        }
        .list())
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let MaxPoolInputs { x } = self.inputs(inputs);
        let shapes = self.infer(&[&x.shape]).expect("shapes were checked");
        let MaxPoolOutputs { maximum, argmax } = self.outputs(&shapes);
        let size = [maximum.dims[1], maximum.dims[2]];
        let (maxima, indices) = maxima(x, self.pooling, size);
        let results = MaxPoolOutputs {
            maximum: Tensor::real(maximum, maxima),
            argmax: Tensor::index(argmax, indices),
        };
        results.list()
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
        let MaxPoolInputs { x } = self.inputs(&node.inputs);
        let MaxPoolOutputs { argmax, .. } = self.outputs(&node.outputs);
        let dims = &tape.graph.shape(x).dims;
        let op = MaxPoolGrad {
            pooling: self.pooling,
            input: [dims[1], dims[2]],
        };
        let operands = MaxPoolGradInputs { dy, argmax }.list();
        let dx = tape.push_one(op, &operands, x)?;
        Ok(vec![Some(dx)])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        cases()
            .map(|(dims, pooling)| {
                Sample::new(MaxPool { pooling }, vec![draw.real(Shape::channels(&dims))])
            })
            .collect()
    }
}
