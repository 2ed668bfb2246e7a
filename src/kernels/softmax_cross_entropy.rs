//! Host half of `shaders/softmax_cross_entropy.wgsl`.

use super::cross_entropy::{self, Params};
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::SoftmaxCrossEntropy;

pub(super) const SHADER: Shader =
    shader!("softmax_cross_entropy", [Read, Read, Write, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &SoftmaxCrossEntropy,
    node: &Node,
) -> Result<(), LowerError> {
    let logits = op.inputs(&node.inputs).logits;
    cross_entropy::launch(lowering, node, logits, &SHADER);
    Ok(())
}
