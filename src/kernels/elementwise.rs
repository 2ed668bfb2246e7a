//! Kernels that map element to element: one invocation for each group of four.

use super::grid;
use super::lowering::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::shape::LANES;

parameters! {
    pub(super) struct Params {
        /// Groups of four.
        count,
    }
}

/// Emits the dispatch of a node whose result has the shape of its operands.
pub(super) fn launch(lowering: &mut Lowering<'_>, node: &Node, shader: &Shader) {
    let y = node.outputs[0];
    let count = lowering.shape(y).stored_len() / LANES;
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(y));
    let launch = Launch {
        kernel: shader.suited(lowering.memory(y), &[]),
        uniforms: Params {
            count: count as u32,
        }
        .words(),
        bindings,
        grid: grid(count.div_ceil(64)),
        flops: 0,
    };
    lowering.launch(y, launch);
}
