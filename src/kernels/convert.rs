//! Host half of `shaders/convert_to_activation.wgsl` and `shaders/convert_to_f32.wgsl`.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::Convert;
use crate::shape::{DType, LANES};

pub(super) const TO_ACTIVATION: Shader = shader!("convert_to_activation", [Read, Write], Params);

pub(super) const TO_F32: Shader = shader!("convert_to_f32", [Read, Write], Params);

parameters! {
    struct Params {
        /// Groups of four.
        count,
    }
}

/// To or from half precision, which is that of the activation: the other side is f32.
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
        true => TO_F32.suited(lowering.memory(x), &[]),
        false => TO_ACTIVATION.suited(lowering.memory(y), &[]),
    };
    let launch = Launch {
        kernel,
        uniforms: Params {
            count: count as u32,
        }
        .words(),
        bindings: vec![lowering.read(x), lowering.write(y)],
        grid: grid(count.div_ceil(64)),
        flops: 0,
    };
    lowering.launch(y, launch);
    Ok(())
}
