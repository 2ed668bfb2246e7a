//! Input gradient of a convolution: see [`super::convolution`].

use super::Cpu;
use super::batch_norm::Channels;
use super::call::Call;
use super::convolution::Product;
use super::normalize_grad_reduce::reduce;
use crate::graph::ops::{Conv2dGradInput, Taps};

pub(super) fn run(cpu: &Cpu, op: &Conv2dGradInput, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let (dy, w) = (call.plane(named.dy), call.weights(named.w));
    let phases = |axis: usize| op.window.backward(op.input[axis], w.kernel[axis]);
    let all: Vec<[Taps; 2]> = phases(0)
        .flat_map(|height| phases(1).map(move |width| [height, width]))
        .collect();
    let product = Product::new(cpu, dy, &w, true, &all);
    let extent = call.result_extent(results.dx);
    let dx = call.result(results.dx);
    product.run(cpu, extent, dx);
    if let (Some(op), Some(norm), Some(partial)) =
        (&op.partial_affine, named.norm, results.partial_affine)
    {
        let (moments, affine) = (call.numbers(norm.moments), call.numbers(norm.affine));
        let channels = Channels::new(extent.channels, moments, affine, op.epsilon);
        let operands = [call.numbers(norm.x), dx];
        reduce(cpu, op, &channels, operands, call.result(partial));
    }
}
