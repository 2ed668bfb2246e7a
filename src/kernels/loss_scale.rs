//! Host half of `shaders/scale_loss.wgsl` and `shaders/adjust_loss_scale.wgsl`.

use super::grid;
use super::lower::{Launch, Lowering};
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::graph::ops::LossScale;
use crate::program::Access::{Read, Write};

const SCALE: Shader = Shader {
    name: "scale_loss",
    text: include_str!("../../shaders/scale_loss.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

const ADJUST: Shader = Shader {
    name: "adjust_loss_scale",
    text: include_str!("../../shaders/adjust_loss_scale.wgsl"),
    bindings: &[Write, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        count,
    }
}

parameters! {
    struct AdjustParams {
        growth_interval,
        /// Float.
        most,
    }
}

pub(super) fn scale(lowering: &mut Lowering<'_>, node: &Node) {
    let scaled = node.outputs[0];
    let count = lowering.shape(scaled).len();
    let launch = Launch {
        kernel: SCALE.kernel(),
        uniforms: Params {
            count: count as u32,
        }
        .words(),
        bindings: vec![
            lowering.read(node.inputs[0]),
            lowering.read(node.inputs[1]),
            lowering.write(scaled),
        ],
        grid: grid(count.div_ceil(64)),
        flops: 0,
    };
    lowering.launch(scaled, launch);
}

pub(super) fn adjust(lowering: &mut Lowering<'_>, node: &Node) {
    let params = AdjustParams {
        growth_interval: LossScale::GROWTH_INTERVAL,
        most: LossScale::MAX.to_bits(),
    };
    let launch = Launch {
        kernel: ADJUST.kernel(),
        uniforms: params.words(),
        bindings: node.inputs.iter().map(|id| lowering.write(*id)).collect(),
        grid: [1, 1, 1],
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
        check_twin(&SCALE, Params::NAMES);
        check_twin(&ADJUST, AdjustParams::NAMES);
    }
}
