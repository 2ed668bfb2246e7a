//! Host half of `shaders/count_metrics.wgsl`.

use super::WORKGROUP;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::CountMetrics;

pub(super) const SHADER: Shader = shader!("count_metrics", [Read, Read, Write], Params);

parameters! {
    struct Params {
        /// Images.
        count,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &CountMetrics,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let metrics = named.metrics;
    let params = Params {
        count: lowering.shape(named.losses).len() as u32,
    };
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: params.words(),
        bindings: vec![
            lowering.read(named.losses),
            lowering.read(named.ranks),
            lowering.write(metrics),
        ],
        grid: [1, 1, 1],
        flops: 0,
        // The rank of an image decides whether its loss counts; the metrics come last.
        serial_steps: 2 * params.count.div_ceil(WORKGROUP) + 1,
    };
    lowering.launch(metrics, launch);
    Ok(())
}
