//! Host half of `shaders/relu_grad.wgsl`.

use super::elementwise::{self, Params};
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::ReluGrad;

pub(super) const SHADER: Shader = shader!("relu_grad", [Read, Read, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    _: &ReluGrad,
    node: &Node,
) -> Result<(), LowerError> {
    elementwise::lower(lowering, node, &SHADER);
    Ok(())
}
