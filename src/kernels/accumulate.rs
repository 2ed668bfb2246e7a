//! Host half of `shaders/accumulate.wgsl`.

use super::arenas;
use super::elementwise::Params;
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::Accumulate;
use crate::program::Access::{Read, Write};

pub(super) const SHADER: Shader = shader!("accumulate", [Write, Read], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Accumulate,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let operands = [
        (named.sums.as_slice(), Write),
        (named.gradients.as_slice(), Read),
    ];
    for part in arenas::parts(lowering, &operands) {
        arenas::launch(lowering, &SHADER.kernel(), named.sums[0], part.bindings);
    }
    Ok(())
}
