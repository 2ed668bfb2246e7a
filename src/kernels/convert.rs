//! Host half of `shaders/convert_to_activation.wgsl` and `shaders/convert_to_f32.wgsl`.

use super::elementwise::{self, Params};
use super::lowering::{LowerError, Lowering};
use super::shader::{Shader, shader};
use crate::graph::Node;
use crate::graph::ops::Convert;
use crate::shape::{DType, LANES};

pub(super) const TO_ACTIVATION: Shader = shader!("convert_to_activation", [Read, Write], Params);

pub(super) const TO_F32: Shader = shader!("convert_to_f32", [Read, Write], Params);

/// Converts between f32 and activations in half precision.
pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Convert,
    node: &Node,
) -> Result<(), LowerError> {
    let (x, y) = (op.inputs(&node.inputs).x, node.outputs[0]);
    let count = lowering.shape(y).stored_len() / LANES;
    let half = |id| lowering.shape(id).dtype == DType::F16;
    debug_assert!(!(half(x) && half(y)), "nothing to convert");
    let kernel = match half(x) {
        true => TO_F32.with_storage(lowering.storage(x), &[]),
        false => TO_ACTIVATION.with_storage(lowering.storage(y), &[]),
    };
    let bindings = vec![lowering.read(x), lowering.write(y)];
    elementwise::launch(lowering, y, kernel, bindings, count);
    Ok(())
}
