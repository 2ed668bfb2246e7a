//! Average over the whole map, and its gradient.

use super::super::autodiff::Tape;
use super::super::{GraphError, Node, Tensor, ValueId};
use super::{Draw, Operator, Sample, nhwc, operands, require};
use crate::shape::Shape;

/// x [N, H, W, C] → mean over H and W [N, 1, 1, C].
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePool;

/// dy [N, 1, 1, C] → dx [N, H, W, C]: dy / (H·W) everywhere.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePoolGrad {
    /// Rows and columns of x.
    pub input: [usize; 2],
}

impl Operator for GlobalAveragePool {
    const NAME: &'static str = "global_average_pool";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [n, h, w, c] = nhwc(operands::<1>(inputs)?[0])?;
        require(h * w > 0, || "the map is empty".to_owned())?;
        Ok(vec![Shape::channels(&[n, 1, 1, c])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let dims = &inputs[0].shape.dims;
        let (pixels, channels) = (dims[1] * dims[2], dims[3]);
        let mut means = vec![0.0; dims[0] * channels];
        for (i, x) in inputs[0].values().iter().enumerate() {
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
        let dims = &tape.graph.shape(node.inputs[0]).dims;
        let op = GlobalAveragePoolGrad {
            input: [dims[1], dims[2]],
        };
        Ok(vec![Some(tape.push_one(op, &[dy], node.inputs[0])?)])
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [[1, 1, 1, 1], [2, 8, 8, 41], [3, 7, 5, 6]]
            .map(|dims| Sample::new(GlobalAveragePool, vec![draw.real(Shape::channels(&dims))]))
            .into()
    }
}

impl Operator for GlobalAveragePoolGrad {
    const NAME: &'static str = "global_average_pool_grad";

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [n, h, w, c] = nhwc(operands::<1>(inputs)?[0])?;
        require([h, w] == [1, 1], || "takes a 1x1 map".to_owned())?;
        Ok(vec![Shape::channels(&[n, self.input[0], self.input[1], c])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let channels = inputs[0].shape.last();
        let pixels = self.input[0] * self.input[1];
        let mut dx = Vec::with_capacity(inputs[0].shape.len() * pixels);
        for image in inputs[0].values().chunks_exact(channels) {
            for _ in 0..pixels {
                dx.extend(image.iter().map(|dy| dy / pixels as f64));
            }
        }
        let [h, w] = self.input;
        let shape = Shape::channels(&[inputs[0].shape.dims[0], h, w, channels]);
        vec![Tensor::real(shape, dx)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [(1, 1, [1, 1]), (2, 41, [8, 8]), (3, 6, [7, 5])]
            .map(|(n, c, input)| {
                let dy = draw.real(Shape::channels(&[n, 1, 1, c]));
                Sample::new(GlobalAveragePoolGrad { input }, vec![dy])
            })
            .into()
    }
}
