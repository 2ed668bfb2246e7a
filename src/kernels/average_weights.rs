//! Host half of `shaders/average_weights.wgsl`.

use super::arenas;
use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::AverageWeights;
use crate::program::Access::{Read, Write};
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("average_weights", [Write, Read, Read, Read], Params);

parameters! {
    struct Params {
        /// Vectors of four.
        count,
        /// Float: weight of the new values.
        weight,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &AverageWeights,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let operands = [
        (named.averages.as_slice(), Write),
        (named.values.as_slice(), Read),
    ];
    let metrics = lowering.read(named.metrics);
    // Where the loss is not scaled the shader does not read its scale.
    let scale = lowering.read(named.scale.unwrap_or(named.metrics));
    let kernel = SHADER.variant(&[("SCALED", u32::from(op.scaled))]);
    for part in arenas::parts(lowering, &operands) {
        let mut bindings = part.bindings;
        let params = Params {
            count: (bindings[0].bytes / (4 * LANES as u64)) as u32,
            weight: op.weight().to_bits(),
        };
        bindings.extend([metrics.clone(), scale.clone()]);
        let launch = Launch {
            kernel: kernel.clone(),
            uniforms: params.words(),
            bindings,
            grid: grid(params.count.div_ceil(64) as usize),
            flops: 0,
            // The metrics and the loss scale decide whether there is an update.
            serial_steps: 2 + u32::from(op.scaled),
        };
        lowering.launch(named.averages[0], launch);
    }
    Ok(())
}
