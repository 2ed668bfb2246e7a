//! Host half of `shaders/scale_loss.wgsl`.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::ScaleLoss;

pub(super) const SHADER: Shader = shader!("scale_loss", [Read, Read, Write], Params);

parameters! {
    struct Params {
        count,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &ScaleLoss,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let scaled = node.outputs[0];
    let count = lowering.shape(scaled).len();
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: Params {
            count: count as u32,
        }
        .words(),
        bindings: vec![
            lowering.read(named.weights),
            lowering.read(named.scale),
            lowering.write(scaled),
        ],
        grid: grid(count.div_ceil(64)),
        flops: 0,
        serial_steps: 1,
    };
    lowering.launch(scaled, launch);
    Ok(())
}
