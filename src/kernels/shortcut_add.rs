//! Host half of `shaders/shortcut_add.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::{NormOperands, ShortcutAdd};
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!(
    "shortcut_add",
    [Read, Read, Read, Read, Write, Write],
    Params
);

parameters! {
    struct Params {
        rows,
        /// Vectors of four channels of y.
        columns,
        /// Rows of a workgroup.
        chunk,
        p,
        q,
        h,
        w,
        /// Vectors of four channels of x.
        input_columns,
        /// Float.
        epsilon,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &ShortcutAdd,
    node: &Node,
) -> Result<(), LowerError> {
    let named = op.inputs(&node.inputs);
    let results = op.outputs(&node.outputs);
    let (branch, y) = (named.branch, results.y);
    let (y_shape, x_shape) = (lowering.shape(y), lowering.shape(named.x));
    let pool = op.stride != 1;
    let mut partition = match op.partial_moments {
        true => RowPartition::reduction(y_shape, lowering.target),
        false => RowPartition::new(y_shape, lowering.target),
    };
    if pool {
        // A window of four pixels is loaded for each row.
        partition = partition.with_rows(1);
    }
    let params = Params {
        rows: partition.rows,
        columns: partition.columns,
        chunk: partition.chunk,
        p: y_shape.dims[1] as u32,
        q: y_shape.dims[2] as u32,
        h: x_shape.dims[1] as u32,
        w: x_shape.dims[2] as u32,
        input_columns: x_shape.last().div_ceil(LANES) as u32,
        epsilon: op.normalize.as_ref().map_or(0, |n| n.epsilon.to_bits()),
    };
    // Without a normalisation the shader does not read its operands.
    let norm = named.norm.unwrap_or(NormOperands {
        moments: branch,
        affine: branch,
    });
    let operands = [branch, named.x, norm.moments, norm.affine];
    let mut bindings = operands.map(|id| lowering.read(id)).to_vec();
    bindings.push(lowering.write(y));
    let mut constants = partition.constants().to_vec();
    constants.extend([
        ("NORMALIZE", u32::from(op.normalize.is_some())),
        ("MOMENTS", u32::from(op.partial_moments)),
        ("POOL", u32::from(pool)),
    ]);
    bindings.push(match results.partial_moments {
        Some(partial) => lowering.slices(partial, partition.slices()),
        None => lowering.unused(y),
    });
    let launch = Launch {
        kernel: SHADER.with_storage(lowering.storage(branch), &constants),
        uniforms: params.words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.steps(),
    };
    lowering.launch(y, launch);
    Ok(())
}
