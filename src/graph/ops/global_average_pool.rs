//! Global average pooling.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::named::{inputs, named};
use super::tape::Tape;
use super::{Draw, GlobalAveragePoolGrad, HalfMaps, Operator, Sample, nhwc, require};
use crate::shape::Shape;

/// x [N·V, H, W, C] → mean over H, W and V consecutive feature maps [N, 1, 1, C].
///
/// A linear classifier of the mean gives the mean of V views' scores.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePool {
    /// V, 1 in training.
    pub views: usize,
}

inputs! {
    /// Operands of [`GlobalAveragePool`].
    GlobalAveragePoolInputs of GlobalAveragePool {
        /// Feature maps [N·V, H, W, C].
        x,
    }
}

impl Operator for GlobalAveragePool {
    const NAME: &'static str = "global_average_pool";
    const HALF: HalfMaps = HalfMaps::Inputs;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [n, h, w, c] = nhwc(self.try_inputs(inputs)?.x)?;
        require(h * w > 0, || "the feature map is empty".to_owned())?;
        require(n % self.views == 0, || {
            format!("the feature maps are not a multiple of {}", self.views)
        })?;
        Ok(vec![Shape::channels(&[n / self.views, 1, 1, c])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let GlobalAveragePoolInputs { x } = self.inputs(inputs);
        let dims = &x.shape.dims;
        let (images, channels) = (dims[0] / self.views, dims[3]);
        let pixels = self.views * dims[1] * dims[2];
        let mut means = vec![0.0; images * channels];
        for (i, x) in x.values().iter().enumerate() {
            let image = i / (pixels * channels);
            means[image * channels + i % channels] += x / pixels as f64;
        }
        let shape = Shape::channels(&[images, 1, 1, channels]);
        vec![Tensor::real(shape, means)]
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
        let GlobalAveragePoolInputs { x } = self.inputs(&node.inputs);
        let dims = &tape.graph.shape(x).dims;
        let op = GlobalAveragePoolGrad {
            input: [dims[1], dims[2]],
            views: self.views,
        };
        Ok(vec![Some(tape.push_one(op, &[dy], x)?)])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [
            (1, [1, 1, 1, 1]),
            (1, [2, 8, 8, 41]),
            (1, [3, 7, 5, 6]),
            (10, [20, 3, 3, 5]),
        ]
        .map(|(views, dims)| {
            let x = draw.real(Shape::channels(&dims));
            Sample::new(GlobalAveragePool { views }, vec![x])
        })
        .into()
    }
}
