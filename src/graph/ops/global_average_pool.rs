//! Global average pooling.

use super::super::{GraphError, Node, Tensor, ValueId};
use super::named::{inputs, named};
use super::tape::Tape;
use super::{Draw, GlobalAveragePoolGrad, HalfMaps, Operator, Sample, nhwc, require};
use crate::shape::Shape;

/// x [N, H, W, C] → mean over H and W [N, 1, 1, C].
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePool;

inputs! {
    /// Operands of [`GlobalAveragePool`].
    GlobalAveragePoolInputs of GlobalAveragePool {
        /// Feature maps [N, H, W, C].
        x,
    }
}

impl Operator for GlobalAveragePool {
    const NAME: &'static str = "global_average_pool";
    const HALF: HalfMaps = HalfMaps::Inputs;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [n, h, w, c] = nhwc(self.try_inputs(inputs)?.x)?;
        require(h * w > 0, || "the feature map is empty".to_owned())?;
        Ok(vec![Shape::channels(&[n, 1, 1, c])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let GlobalAveragePoolInputs { x } = self.inputs(inputs);
        let dims = &x.shape.dims;
        let (pixels, channels) = (dims[1] * dims[2], dims[3]);
        let mut means = vec![0.0; dims[0] * channels];
        for (i, x) in x.values().iter().enumerate() {
            let image = i / (pixels * channels);
            means[image * channels + i % channels] += x / pixels as f64;
        }
        let shape = Shape::channels(&[dims[0], 1, 1, channels]);
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
        };
        Ok(vec![Some(tape.push_one(op, &[dy], x)?)])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 8, 8, 41], [3, 7, 5, 6]]
            .map(|dims| Sample::new(GlobalAveragePool, vec![draw.real(Shape::channels(&dims))]))
            .into()
    }
}
