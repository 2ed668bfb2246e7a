//! Host half of `shaders/adjust_loss_scale.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::{AdjustLossScale, LossScale};

pub(super) const SHADER: Shader = shader!("adjust_loss_scale", [Write], Params);

/// The words that are read depend on whether a gradient overflowed.
const SERIAL_STEPS: u32 = 2;

parameters! {
    struct Params {
        growth_interval,
        /// Float.
        most,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &AdjustLossScale,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let params = Params {
        growth_interval: LossScale::GROWTH_INTERVAL,
        most: LossScale::MAX.to_bits(),
    };
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: params.words(),
        bindings: vec![lowering.write(named.scale)],
        grid: [1, 1, 1],
        flops: 0,
        serial_steps: SERIAL_STEPS,
    };
    lowering.launch(named.scale, launch);
    Ok(())
}
