//! Convolution: see [`super::convolution`].

use super::Cpu;
use super::batch_moments;
use super::call::Call;
use super::convolution::{Convolution, Filter, FusedNormalize, Method, pack};
use crate::graph::ops::Conv2d;

pub(super) fn run(cpu: &Cpu, op: &Conv2d, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let (source, weights) = (call.plane(named.x), call.weights(named.w));
    let result = call.result_extent(results.y);
    let taps = [0, 1].map(|axis| op.window.forward(source.size[axis], weights.kernel[axis]));
    let input = named.normalize_input;
    let output = named.normalize_output;
    let convolution = Convolution {
        method: Method::new(weights.kernel, vec![taps], *source, result),
        normalize_input: FusedNormalize::of(&op.normalize_input, input, source.channels, &call),
        epilogue: FusedNormalize::of(&op.normalize_output, output, result.channels, &call),
        source,
        result,
    };
    let filter = Filter {
        weights,
        transposed: false,
    };
    let kept = call.kept(|packed| pack(cpu, &convolution.method, filter, packed));
    let y = call.result(results.y);
    convolution.run(cpu, filter, kept, y);
    if let Some(partial) = results.partial_moments {
        batch_moments::partial(cpu, y, result.channels, call.result(partial));
    }
}
