//! Lowering of the convolution: see [`super::convolution`].

use super::convolution::{Convolution, FusedNorm, Reduction, Sizes, lower as lower_convolution};
use super::lowering::{LowerError, Lowering};
use crate::graph::Node;
use crate::graph::ops::Conv2d;

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Conv2d,
    node: &Node,
) -> Result<(), LowerError> {
    let (named, results) = (op.inputs(&node.inputs), op.outputs(&node.outputs));
    let partial = results.partial_moments;
    let convolution = Convolution {
        sizes: Sizes::new(lowering, named.x, named.w, results.y, op.window),
        transposed: false,
        source: named.x,
        weights: named.w,
        result: results.y,
        normalize_input: FusedNorm::new(&op.normalize_input, named.normalize_input),
        normalize_output: FusedNorm::new(&op.normalize_output, named.normalize_output),
        reduction: partial.map(|partial| Reduction::Moments { partial }),
        flops: lowering.flops(node),
    };
    lower_convolution(lowering, &convolution, "conv2d")
}
