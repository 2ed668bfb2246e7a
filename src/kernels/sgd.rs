//! Host half of `shaders/sgd.wgsl`.

use super::arenas;
use super::elementwise::Params;
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::Sgd;
use crate::program::Access::{Read, Write};

pub(super) const SHADER: Shader = shader!("sgd", [Write, Read, Write, Write, Read, Read], Params);

pub(super) fn lower(lowering: &mut Lowering<'_>, op: &Sgd, node: &Node) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let operands = [
        (named.parameters.as_slice(), Write),
        (named.gradients.as_slice(), Read),
        (named.velocities.as_slice(), Write),
    ];
    let [metrics, step] = [lowering.write(named.metrics), lowering.read(named.step)];
    // Where the loss is not scaled the shader does not read its scale.
    let scale = match named.scale {
        Some(scale) => lowering.read(scale),
        None => step.clone(),
    };
    let kernel = SHADER.variant(&[("SCALED", u32::from(op.scaled))]);
    for mut bindings in arenas::parts(lowering, &operands) {
        bindings.extend([metrics.clone(), step.clone(), scale.clone()]);
        arenas::launch(lowering, &kernel, named.metrics, bindings);
    }
    Ok(())
}
