//! Host half of the kernels that map element to element: `shaders/elementwise_add.wgsl`,
//! `shaders/relu.wgsl`, `shaders/relu_grad.wgsl`.

use super::grid;
use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::program::Access::{Read, Write};
use crate::shape::LANES;

const ADD: Shader = Shader {
    name: "elementwise_add",
    text: include_str!("../../shaders/elementwise_add.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

const RELU: Shader = Shader {
    name: "relu",
    text: include_str!("../../shaders/relu.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

const RELU_GRAD: Shader = Shader {
    name: "relu_grad",
    text: include_str!("../../shaders/relu_grad.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Groups of four.
        count,
    }
}

pub(super) fn add(lowering: &mut Lowering<'_>, node: &Node) {
    launch(lowering, node, &ADD);
}

pub(super) fn relu(lowering: &mut Lowering<'_>, node: &Node) {
    launch(lowering, node, &RELU);
}

pub(super) fn relu_grad(lowering: &mut Lowering<'_>, node: &Node) {
    launch(lowering, node, &RELU_GRAD);
}

fn launch(lowering: &mut Lowering<'_>, node: &Node, shader: &Shader) {
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

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        for shader in [&ADD, &RELU, &RELU_GRAD] {
            check_twin(shader, Params::NAMES);
        }
    }
}
