//! Convolution: see [`super::convolution`].

use super::Cpu;
use super::batch_moments;
use super::call::Call;
use super::convolution::{FusedNormalize, Product};
use crate::graph::ops::Conv2d;

pub(super) fn run(cpu: &Cpu, op: &Conv2d, mut call: Call<'_>) {
    let named = op.inputs(&call.operands());
    let results = op.outputs(&call.results());
    let (x, w) = (call.plane(named.x), call.weights(named.w));
    let taps = [0, 1].map(|axis| op.window.forward(x.size[axis], w.kernel[axis]));
    let mut product = Product::new(cpu, x, &w, false, &[taps]);
    let norm = named.normalize_input;
    product.normalize_input = FusedNormalize::of(&op.normalize_input, norm, x.channels, &call);
    let extent = call.result_extent(results.y);
    let norm = named.normalize_output;
    product.epilogue = FusedNormalize::of(&op.normalize_output, norm, extent.channels, &call);
    let y = call.result(results.y);
    product.run(cpu, extent, y);
    if let Some(partial) = results.partial_moments {
        batch_moments::partial(cpu, y, extent.channels, call.result(partial));
    }
}
