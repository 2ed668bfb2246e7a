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
    let named = op.inputs(&node.inputs);
    let operands = [named.logits, named.labels];
    // The largest logit and the rank, the sum of exponentials, and with smoothing all distances.
    let passes = 2 + u32::from(op.smoothing > 0.0);
    cross_entropy::launch(lowering, node, operands, op.smoothing, (&SHADER, passes));
    Ok(())
}
