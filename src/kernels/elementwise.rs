//! Elementwise kernels: one invocation for each vector of four elements.

use super::grid;
use super::lowering::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::{Node, ValueId};
use crate::program::{Binding, Kernel};
use crate::shape::LANES;

parameters! {
    pub(super) struct Params {
        /// Vectors of four.
        count,
    }
}

/// Emits the dispatch of `kernel` over the `count` vectors of its operands.
pub(super) fn launch(
    lowering: &mut Lowering<'_>,
    of: ValueId,
    kernel: Kernel,
    bindings: Vec<Binding>,
    count: usize,
) {
    let params = Params {
        count: count as u32,
    };
    let launch = Launch {
        kernel,
        uniforms: params.words(),
        bindings,
        grid: grid(count.div_ceil(64)),
        flops: 0,
        serial_steps: 1,
    };
    lowering.launch(of, launch);
}

/// Emits the dispatch of a node whose output has the shape of its inputs.
pub(super) fn lower(lowering: &mut Lowering<'_>, node: &Node, shader: &Shader) {
    let y = node.outputs[0];
    let kernel = shader.with_storage(lowering.storage(y), &[]);
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(y));
    let count = lowering.shape(y).stored_len() / LANES;
    launch(lowering, y, kernel, bindings, count);
}
