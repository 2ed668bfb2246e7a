//! Host half of `shaders/find_overflow.wgsl`.

use super::arenas;
use super::elementwise::Params;
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::FindOverflow;
use crate::program::Access::Read;

pub(super) const SHADER: Shader = shader!("find_overflow", [Read, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &FindOverflow,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let scale = lowering.write(named.scale);
    for part in arenas::parts(lowering, &[(named.gradients.as_slice(), Read)]) {
        let mut bindings = part.bindings;
        bindings.push(scale.clone());
        arenas::launch(lowering, &SHADER.kernel(), named.scale, bindings);
    }
    Ok(())
}
