//! Host half of `shaders/relu.wgsl`.

use super::elementwise::{self, Params};
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::Relu;

pub(super) const SHADER: Shader = shader!("relu", [Read, Write], Params);

pub(super) fn lower(lowering: &mut Lowering<'_>, _: &Relu, node: &Node) -> Result<(), LowerError> {
    elementwise::lower(lowering, node, &SHADER);
    Ok(())
}
