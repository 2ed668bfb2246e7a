//! Gradient of global average pooling: dy / (V·H·W), broadcast over the maps.

use super::super::Tensor;
use super::named::{inputs, named};
use super::{Draw, HalfMaps, Operator, Sample, nhwc, require};
use crate::shape::Shape;

/// dy [N, 1, 1, C] → dx [N·V, H, W, C].
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePoolGrad {
    /// Height and width of x.
    pub input: [usize; 2],
    /// V, consecutive feature maps of one mean.
    pub views: usize,
}

inputs! {
    /// Operands of [`GlobalAveragePoolGrad`].
    GlobalAveragePoolGradInputs of GlobalAveragePoolGrad {
        /// Gradient of the output [N, 1, 1, C].
        dy,
    }
}

impl Operator for GlobalAveragePoolGrad {
    const NAME: &'static str = "global_average_pool_grad";
    const HALF: HalfMaps = HalfMaps::Outputs;

    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
        let [n, h, w, c] = nhwc(self.try_inputs(inputs)?.dy)?;
        require([h, w] == [1, 1], || "needs a 1x1 map".to_owned())?;
        let [h, w] = self.input;
        Ok(vec![Shape::channels(&[n * self.views, h, w, c])])
    }

    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
        let GlobalAveragePoolGradInputs { dy } = self.inputs(inputs);
        let channels = dy.shape.last();
        let [h, w] = self.input;
        let pixels = self.views * h * w;
        let mut dx = Vec::with_capacity(dy.shape.len() * pixels);
        for image in dy.values().chunks_exact(channels) {
            for _ in 0..pixels {
                dx.extend(image.iter().map(|dy| dy / pixels as f64));
            }
        }
        let shape = Shape::channels(&[dy.shape.dims[0] * self.views, h, w, channels]);
        vec![Tensor::real(shape, dx)]
    }

    fn samples(draw: &mut Draw) -> Vec<Sample> {
        [
            (1, 1, [1, 1], 1),
            (2, 41, [8, 8], 1),
            (3, 6, [7, 5], 1),
            (2, 5, [3, 3], 10),
        ]
        .map(|(n, c, input, views)| {
            let dy = draw.real(Shape::channels(&[n, 1, 1, c]));
            Sample::new(GlobalAveragePoolGrad { input, views }, vec![dy])
        })
        .into()
    }
}
