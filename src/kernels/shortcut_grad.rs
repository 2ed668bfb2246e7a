//! Host half of `shaders/shortcut_grad.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::ShortcutGrad;
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("shortcut_grad", [Read, Write], Params);

parameters! {
    struct Params {
        rows,
        /// Vectors of four channels of x.
        columns,
        chunk,
        stride,
        p,
        q,
        h,
        w,
        /// Vectors of four channels of dy.
        output_columns,
        /// Channels in x's last group.
        tail,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &ShortcutGrad,
    node: &Node,
) -> Result<(), LowerError> {
    let (dy, dx) = (op.inputs(&node.inputs).dy, node.outputs[0]);
    let (dy_shape, dx_shape) = (lowering.shape(dy), lowering.shape(dx));
    let partition = RowPartition::new(dx_shape, lowering.target);
    let params = Params {
        rows: partition.rows,
        columns: partition.columns,
        chunk: partition.chunk,
        stride: op.stride as u32,
        p: dy_shape.dims[1] as u32,
        q: dy_shape.dims[2] as u32,
        h: dx_shape.dims[1] as u32,
        w: dx_shape.dims[2] as u32,
        output_columns: dy_shape.last().div_ceil(LANES) as u32,
        tail: ((dx_shape.last() - 1) % LANES + 1) as u32,
    };
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(dy), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(dy), lowering.write(dx)],
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.visits(),
    };
    lowering.launch(dx, launch);
    Ok(())
}
