//! Shapes that the samples of the operators lack.

use pyr_wgpu::graph::ops::{self, Draw, Sample, Window};
use pyr_wgpu::graph::{Op, Tensor};
use pyr_wgpu::shape::{PixelFormat, Shape};

/// So many rows that a workgroup adds the slices of each vector; slices of rows of which the last is
/// shorter; rows of more pixels than are loaded at a time; chunks of channels of which the last is
/// narrower; more vectors than two workgroups own; and contents that few workgroups see.
pub(crate) fn ragged() -> Vec<Sample> {
    let draw = &mut Draw::new(0);
    let mut samples = vec![reduction(draw, [3, 41, 37, 5])];
    samples.extend(convolutions(draw, [1, 131, 2], [3, 5]));
    samples.extend(convolutions(draw, [1, 2, 70], [3, 5]));
    samples.extend(convolutions(draw, [4, 5, 5], [2, 68]));
    samples.extend(convolutions(draw, [2, 3, 3], [68, 5]));
    let maps = draw.real(Shape::channels(&[41, 2, 1, 21]));
    samples.push(sample(ops::GlobalAveragePool { views: 1 }, vec![maps]));
    samples.extend([late_overflow(draw), few_colours(draw)]);
    samples
}

/// The only gradient that is not finite is in the last workgroup.
fn late_overflow(draw: &mut Draw) -> Sample {
    let weights = draw.real(Shape::weights([3, 3, 5, 6]));
    let mut values = weights.values().to_vec();
    *values.last_mut().expect("there are weights") = f64::NAN;
    let weights = Tensor::real(weights.shape, values);
    let state = ops::LossScale::initial().to_words();
    let state = Tensor::index(Shape::indices(&[ops::LOSS_SCALE_WORDS]), state.into());
    sample(ops::FindOverflow, vec![weights, state])
}

/// Images to equalize in which many pixels have the largest value, which is not 255.
fn few_colours(draw: &mut Draw) -> Sample {
    let size = 17;
    let words = ops::AssembleBatch::image_words(size, PixelFormat::U8);
    let images = draw.words(Shape::indices(&[1, words]));
    let values = images.indices().iter().map(|word| word & 0x0707_0707);
    let images = Tensor::index(images.shape.clone(), values.collect());
    let rows = Tensor::index(Shape::indices(&[1]), vec![0]);
    let equalize = ops::Transform::Equalize.to_words();
    let shape = Shape::indices(&[1, ops::TRANSFORM_WORDS]);
    let transforms = Tensor::index(shape, equalize.into());
    sample(
        ops::TransformImages { size },
        vec![images, rows, transforms],
    )
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
