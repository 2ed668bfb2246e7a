//! Input gradient of a convolution: see [`super::convolution`].

use super::Cpu;
use super::batch_norm::Channels;
use super::call::Call;
use super::convolution::{Convolution, Filter, Method};
use super::normalize_grad_reduce::reduce;
use crate::graph::ops::{Conv2dGradInput, Taps};

pub(super) fn run(cpu: &Cpu, op: &Conv2dGradInput, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let (source, weights) = (call.plane(named.dy), call.weights(named.w));
    let result = call.result_extent(results.dx);
    let phases = |axis: usize| op.window.backward(op.input[axis], weights.kernel[axis]);
    let all: Vec<[Taps; 2]> = phases(0)
        .flat_map(|height| phases(1).map(move |width| [height, width]))
        .collect();
    let convolution = Convolution {
        method: Method::new(weights.kernel, all, *source, result),
        normalize_input: None,
        epilogue: None,
        source,
        result,
    };
    let filter = Filter {
        weights,
        transposed: true,
    };
    let dx = call.result(results.dx);
    convolution.run(cpu, filter, None, dx);
    if let (Some(op), Some(norm), Some(partial)) =
        (&op.partial_affine, named.norm, results.partial_affine)
    {
        let (moments, affine) = (call.numbers(norm.moments), call.numbers(norm.affine));
        let channels = Channels::new(result.channels, moments, affine, op.epsilon);
        let operands = [call.numbers(norm.x), dx];
        reduce(cpu, op, &channels, operands, call.result(partial));
    }
}
