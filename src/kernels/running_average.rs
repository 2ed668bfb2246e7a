//! Host half of `shaders/running_average.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::RunningAverage;
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("running_average", [Write, Read], Params);

parameters! {
    struct Params {
        /// Vectors of four channels.
        columns,
        /// Float.
        weight,
        /// Float: factor from biased to unbiased variance.
        correction,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &RunningAverage,
    node: &Node,
) -> Result<(), LowerError> {
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
        bindings: vec![
            lowering.write(running),
            lowering.read(op.inputs(&node.inputs).moments),
        ],
        grid: [(2 * columns).div_ceil(64), 1, 1],
        flops: 0,
        serial_steps: 1,
    };
    lowering.launch(running, launch);
    Ok(())
}
