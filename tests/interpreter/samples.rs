//! Shapes that the samples of the operators lack.

use pyr_wgpu::graph::ops::{self, Draw, Sample, Window};
use pyr_wgpu::graph::{Op, Tensor};
use pyr_wgpu::shape::Shape;

/// So many rows that a workgroup adds the slices of each vector; slices of rows of which the last is
/// shorter; rows of more pixels than are loaded at a time; chunks of channels of which the last is
/// narrower; and more vectors than two workgroups own.
pub(crate) fn ragged() -> Vec<Sample> {
    let draw = &mut Draw::new(0);
    let mut samples = vec![reduction(draw, [3, 41, 37, 5])];
    samples.extend(convolutions(draw, [1, 131, 2], [3, 5]));
    samples.extend(convolutions(draw, [1, 2, 70], [3, 5]));
    samples.extend(convolutions(draw, [2, 3, 3], [5, 68]));
    samples.extend(convolutions(draw, [2, 3, 3], [68, 5]));
    let maps = draw.real(Shape::channels(&[41, 2, 1, 21]));
    samples.push(sample(ops::GlobalAveragePool { views: 1 }, vec![maps]));
    samples
}

fn sample(op: impl Into<Op>, inputs: Vec<Tensor>) -> Sample {
    Sample {
        op: op.into(),
        inputs,
    }
}

fn reduction(draw: &mut Draw, dims: [usize; 4]) -> Sample {
    let [x, dy] = [0, 1].map(|_| draw.real(Shape::channels(&dims)));
    let [moments, affine] = [0, 1].map(|_| draw.positive(Shape::channels(&[2, dims[3]])));
    let op = ops::NormalizeGradReduce {
        epsilon: 1e-5,
        relu: true,
    };
    sample(op, vec![x, dy, moments, affine])
}

/// A convolution of 3x3 taps and its two gradients.
fn convolutions(
    draw: &mut Draw,
    [batch, height, width]: [usize; 3],
    [inputs, outputs]: [usize; 2],
) -> [Sample; 3] {
    let [x, y] = [inputs, outputs].map(|channels| {
        let dims = [batch, height, width, channels];
        draw.real(Shape::channels(&dims))
    });
    let w = draw.real(Shape::weights([3, 3, inputs, outputs]));
    let window = Window {
        stride: 1,
        padding: 1,
    };
    let grad_input = ops::Conv2dGradInput {
        window,
        input: [height, width],
        partial_affine: None,
    };
    let grad_weight = ops::Conv2dGradWeight {
        window,
        normalize_input: None,
        kernel: [3, 3],
    };
    [
        sample(ops::Conv2d::new(window), vec![x.clone(), w.clone()]),
        sample(grad_input, vec![y.clone(), w]),
        sample(grad_weight, vec![x, y]),
    ]
}
