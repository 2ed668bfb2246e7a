//! Host half of `shaders/erase.wgsl`.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering};
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::{Erase, RECTANGLE_WORDS};
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("erase", [Read, Read, Write], Params);

parameters! {
    struct Params {
        /// Vectors of four.
        vectors,
        /// Vectors of a pixel.
        columns,
        height,
        width,
        /// Rectangles of an image.
        count,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &Erase,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let y = node.outputs[0];
    let shape = lowering.shape(y);
    let columns = shape.last().div_ceil(LANES);
    let vectors = shape.rows() * columns;
    let params = Params {
        vectors: vectors as u32,
        columns: columns as u32,
        height: shape.dims[1] as u32,
        width: shape.dims[2] as u32,
        count: (lowering.shape(named.rectangles).last() / RECTANGLE_WORDS) as u32,
    };
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(y), &[]),
        uniforms: params.words(),
        bindings: vec![
            lowering.read(named.x),
            lowering.read(named.rectangles),
            lowering.write(y),
        ],
        grid: grid(vectors.div_ceil(64)),
        flops: 0,
        serial_steps: params.count.max(1),
    };
    lowering.launch(y, launch);
    Ok(())
}
