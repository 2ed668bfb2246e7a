//! Host half of `shaders/add.wgsl`.

use super::elementwise::{self, Params};
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::Add;

pub(super) const SHADER: Shader = shader!("add", [Read, Read, Write], Params);

pub(super) fn lower(lowering: &mut Lowering<'_>, _: &Add, node: &Node) -> Result<(), LowerError> {
    elementwise::lower(lowering, node, &SHADER);
    Ok(())
}
