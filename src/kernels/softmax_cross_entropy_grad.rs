//! Host half of `shaders/softmax_cross_entropy_grad.wgsl`.

use super::cross_entropy::{self, Params};
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::SoftmaxCrossEntropyGrad;

pub(super) const SHADER: Shader = shader!(
    "softmax_cross_entropy_grad",
    [Read, Read, Read, Write],
    Params
);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &SoftmaxCrossEntropyGrad,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let operands = [named.logits, named.labels];
    // The largest logit, the sum of exponentials, and the gradients.
    cross_entropy::launch(lowering, node, operands, op.smoothing, (&SHADER, 3));
    Ok(())
}
