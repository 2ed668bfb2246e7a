//! Host half of `shaders/dropout.wgsl`.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::Dropout;
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("dropout", [Read, Read, Read, Write], Params);

parameters! {
    struct Params {
        /// Vectors of four.
        count,
        /// Vectors of four channels.
        columns,
        /// Random words below it drop their element.
        threshold,
        /// Float: factor on kept elements.
        scale,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Dropout,
    node: &Node,
) -> Result<(), LowerError> {
    let y = node.outputs[0];
    let shape = lowering.shape(y);
    let columns = shape.last().div_ceil(LANES);
    let count = shape.rows() * columns;
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(y));
    let params = Params {
        count: count as u32,
        columns: columns as u32,
        threshold: op.threshold(),
        scale: op.scale().to_bits(),
    };
    let launch = Launch {
        kernel: SHADER.kernel(),
        uniforms: params.words(),
        bindings,
        grid: grid(count.div_ceil(64)),
        flops: 0,
        serial_steps: 1,
    };
    lowering.launch(y, launch);
    Ok(())
}
