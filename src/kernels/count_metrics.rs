//! Host half of `shaders/count_metrics.wgsl`.

use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::program::Access::{Read, Write};

const SHADER: Shader = Shader {
    name: "count_metrics",
    text: include_str!("../../shaders/count_metrics.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Images.
        count,
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &Node) {
    let metrics = node.outputs[0];
    let params = Params {
        count: lowering.shape(node.inputs[0]).len() as u32,
    };
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: params.words(),
        bindings: vec![
            lowering.read(node.inputs[0]),
            lowering.read(node.inputs[1]),
            lowering.write(metrics),
        ],
        grid: [1, 1, 1],
        flops: 0,
    };
    lowering.launch(metrics, launch);
}

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shader_agrees_with_its_host_half() {
        check_twin(&SHADER, Params::NAMES);
    }
}
