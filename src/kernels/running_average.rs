//! Host half of `shaders/running_average.wgsl`.

use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::graph::ops::RunningAverage;
use crate::program::Access::{Read, Write};
use crate::shape::LANES;

const SHADER: Shader = Shader {
    name: "running_average",
    text: include_str!("../../shaders/running_average.wgsl"),
    bindings: &[Write, Read],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Groups of four channels.
        columns,
        /// Float.
        weight,
        /// Float: from biased to unbiased variance.
        correction,
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, op: &RunningAverage, node: &Node) {
    let running = node.outputs[0];
    let columns = lowering.shape(running).last().div_ceil(LANES) as u32;
    let params = Params {
        columns,
        weight: op.weight.to_bits(),
        correction: (op.correction() as f32).to_bits(),
    };
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: params.words(),
        bindings: vec![lowering.write(running), lowering.read(node.inputs[1])],
        grid: [(2 * columns).div_ceil(64), 1, 1],
        flops: 0,
    };
    lowering.launch(running, launch);
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
