//! Convolution: see [`super::convolution`].

use super::Cpu;
use super::batch_moments;
use super::call::{Call, Extent};
use super::convolution::{self, Convolution, Filter, FusedNormalize, Method, pack};
use crate::graph::ops::Conv2d;
use crate::graph::{Graph, Node};

pub(super) fn run(cpu: &Cpu, op: &Conv2d, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let (source, weights) = (call.plane(named.x), call.weights(named.w));
    let result = call.result_extent(results.y);
    let input = named.normalize_input;
    let output = named.normalize_output;
    let convolution = Convolution {
        method: method(op, weights.kernel, *source, result),
        normalize_input: FusedNormalize::of(&op.normalize_input, input, source.channels, &call),
        epilogue: FusedNormalize::of(&op.normalize_output, output, result.channels, &call),
        source,
        result,
    };
    let filter = Filter {
        weights,
        transposed: false,
    };
    let packed = call.packed(|packed| pack(cpu, &convolution.method, filter, packed));
    let y = call.result(results.y);
    convolution.run(cpu, filter, packed, y);
    if let Some(partial) = results.partial_moments {
        batch_moments::partial(cpu, y, result.channels, call.result(partial));
    }
}

/// Number of elements of a node's packed weights.
pub(super) fn packed_len(cpu: &Cpu, op: &Conv2d, graph: &Graph, node: &Node) -> usize {
    let inputs = op.inputs(&node.inputs);
    let source = Extent::new(graph.shape(inputs.x));
    let result = Extent::new(graph.shape(op.outputs(&node.outputs).y));
    let weights = graph.shape(inputs.w).stored_dims();
    let method = method(op, [weights[0], weights[1]], source, result);
    convolution::packed_len(cpu, &method, [weights[2], weights[3]])
}

fn method(op: &Conv2d, kernel: [usize; 2], source: Extent, result: Extent) -> Method {
    let taps = [0, 1].map(|axis| op.window.forward(source.size[axis], kernel[axis]));
    Method::new(kernel, vec![taps], source, result)
}
