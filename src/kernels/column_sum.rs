//! Host half of `shaders/column_sum.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::row_partition::{Params, RowPartition};
use super::shader::{Shader, shader};
use super::sum_slices;
use crate::graph::Node;
use crate::graph::ops::ColumnSum;

pub(super) const SHADER: Shader = shader!("column_sum", [Read, Write], Params);

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &ColumnSum,
    node: &Node,
) -> Result<(), LowerError> {
    let (x, y) = (op.inputs(&node.inputs).x, node.outputs[0]);
    let partition = RowPartition::reduction(lowering.shape(x), lowering.target);
    let bytes = 16 * u64::from(partition.slices()) * u64::from(partition.columns);
    let partial = lowering.scratch(y, "slices", bytes);
    let launch = Launch {
        kernel: SHADER.variant(&partition.constants()),
        uniforms: partition.params().words(),
        bindings: vec![lowering.read(x), partial.clone()],
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.steps(),
    };
    lowering.launch(y, launch);
    sum_slices::launch(lowering, &partial, y);
    Ok(())
}
