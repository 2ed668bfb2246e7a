//! Input gradient of a convolution: see [`super::convolution`].

use super::Cpu;
use super::call::Call;
use super::convolution::{Convolution, Filter, Method};
use super::normalize_grad_reduce::reduce_result;
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
    let partial = results.partial_affine;
    reduce_result(cpu, &op.partial_affine, named.norm, dx, partial, &mut call);
}
