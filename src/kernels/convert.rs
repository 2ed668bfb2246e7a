//! Host half of `shaders/convert_to_stored.wgsl` and `shaders/convert_to_exact.wgsl`.

use super::grid;
use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::program::Access::{Read, Write};
use crate::shape::{DType, LANES};

const TO_STORED: Shader = Shader {
    name: "convert_to_stored",
    text: include_str!("../../shaders/convert_to_stored.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

const TO_EXACT: Shader = Shader {
    name: "convert_to_exact",
    text: include_str!("../../shaders/convert_to_exact.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Groups of four.
        count,
    }
}

/// From halves or to halves; where both sides are one, the forms of memory are as well.
pub(super) fn lower(lowering: &mut Lowering<'_>, node: &Node) {
    let (x, y) = (node.inputs[0], node.outputs[0]);
    let count = lowering.shape(y).stored_len() / LANES;
    let half = |id| lowering.shape(id).dtype == DType::F16;
    debug_assert!(!(half(x) && half(y)), "nothing to convert");
    let kernel = match half(x) {
        true => TO_EXACT.suited(lowering.memory(x), &[]),
        false => TO_STORED.suited(lowering.memory(y), &[]),
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
        check_twin(&TO_STORED, Params::NAMES);
        check_twin(&TO_EXACT, Params::NAMES);
    }
}
