//! Host half of `shaders/convert_to_activation.wgsl` and `shaders/convert_to_f32.wgsl`.

use super::grid;
use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::program::Access::{Read, Write};
use crate::shape::{DType, LANES};

const TO_ACTIVATION: Shader = Shader {
    name: "convert_to_activation",
    text: include_str!("../../shaders/convert_to_activation.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

const TO_F32: Shader = Shader {
    name: "convert_to_f32",
    text: include_str!("../../shaders/convert_to_f32.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Groups of four.
        count,
    }
}

/// To or from half precision, which is that of the activation: the other side is f32.
pub(super) fn lower(lowering: &mut Lowering<'_>, node: &Node) {
    let (x, y) = (node.inputs[0], node.outputs[0]);
    let count = lowering.shape(y).stored_len() / LANES;
    let half = |id| lowering.shape(id).dtype == DType::F16;
    debug_assert!(!(half(x) && half(y)), "nothing to convert");
    let kernel = match half(x) {
        true => TO_F32.suited(lowering.memory(x), &[]),
        false => TO_ACTIVATION.suited(lowering.memory(y), &[]),
    };
    let launch = Launch {
        kernel,
        uniforms: Params {
            count: count as u32,
        }
        .words(),
        bindings: vec![lowering.read(x), lowering.write(y)],
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
        check_twin(&TO_ACTIVATION, Params::NAMES);
        check_twin(&TO_F32, Params::NAMES);
    }
}
