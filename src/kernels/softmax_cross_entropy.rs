//! Host half of `shaders/softmax_cross_entropy.wgsl` and
//! `shaders/softmax_cross_entropy_grad.wgsl`.

use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::program::Access::{Read, Write};
use crate::shape::{LANES, Shape};

const FORWARD: Shader = Shader {
    name: "softmax_cross_entropy",
    text: include_str!("../../shaders/softmax_cross_entropy.wgsl"),
    bindings: &[Read, Read, Write, Write],
    subgroups: false,
};

const GRAD: Shader = Shader {
    name: "softmax_cross_entropy_grad",
    text: include_str!("../../shaders/softmax_cross_entropy_grad.wgsl"),
    bindings: &[Read, Read, Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Images.
        rows,
        classes,
        /// Floats of a row in memory.
        stride,
    }
}

impl Params {
    fn new(logits: &Shape) -> Params {
        Params {
            rows: logits.rows() as u32,
            classes: logits.last() as u32,
            stride: logits.last().next_multiple_of(LANES) as u32,
        }
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &Node) {
    launch(lowering, node, &FORWARD);
}

pub(super) fn grad(lowering: &mut Lowering<'_>, node: &Node) {
    launch(lowering, node, &GRAD);
}

fn launch(lowering: &mut Lowering<'_>, node: &Node, shader: &Shader) {
    let params = Params::new(lowering.shape(node.inputs[0]));
    let reads = node.inputs.iter().map(|id| lowering.read(*id));
    let writes = node.outputs.iter().map(|id| lowering.write(*id));
    let launch = Launch {
        kernel: shader.kernel(),
        uniforms: params.words(),
        bindings: reads.chain(writes).collect(),
        grid: [params.rows.div_ceil(64), 1, 1],
        flops: 0,
    };
    lowering.launch(node.outputs[0], launch);
}

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&FORWARD, Params::NAMES);
        check_twin(&GRAD, Params::NAMES);
    }
}
