//! Lowering of the input gradient of a convolution: see [`super::convolution`].

use super::convolution::{Convolution, Reduction, Sizes, lower as lower_convolution};
use super::lowering::{LowerError, Lowering};
use crate::graph::Node;
use crate::graph::ops::Conv2dGradInput;

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Conv2dGradInput,
    node: &Node,
) -> Result<(), LowerError> {
    let (named, results) = (op.inputs(&node.inputs), op.outputs(&node.outputs));
    let mut reduction = None;
    if let (Some(op), Some(norm), Some(partial)) =
        (&op.partial_affine, named.norm, results.partial_affine)
    {
        reduction = Some(Reduction::Affine { partial, op, norm });
    }
    let convolution = Convolution {
        sizes: Sizes::new(lowering, results.dx, named.w, named.dy, op.window),
        transposed: true,
        source: named.dy,
        weights: named.w,
        result: results.dx,
        normalize_input: None,
        normalize_output: None,
        reduction,
        flops: lowering.flops(node),
    };
    lower_convolution(lowering, &convolution, "conv2d_grad_input")
}
