//! Host half of `shaders/bias_add.wgsl` and `shaders/column_sum.wgsl`.

use super::lower::{Launch, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters};
use super::sum_slices;
use crate::graph::Node;
use crate::program::Access::{Read, Write};

const ADD: Shader = Shader {
    name: "bias_add",
    text: include_str!("../../shaders/bias_add.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

const SUM: Shader = Shader {
    name: "column_sum",
    text: include_str!("../../shaders/column_sum.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        rows,
        /// Groups of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
    }
}

impl Params {
    fn new(partition: &RowPartition) -> Params {
        Params {
            rows: partition.rows,
            columns: partition.columns,
            chunk: partition.chunk,
        }
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &Node) {
    let y = node.outputs[0];
    let partition = RowPartition::new(lowering.shape(y), lowering.target);
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(y));
    let launch = Launch {
        kernel: ADD.kernel(),
        uniforms: Params::new(&partition).words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(y, launch);
}

pub(super) fn column_sum(lowering: &mut Lowering<'_>, node: &Node) {
    let (x, y) = (node.inputs[0], node.outputs[0]);
    let partition = RowPartition::reduction(lowering.shape(x));
    let bytes = 16 * u64::from(partition.slices()) * u64::from(partition.columns);
    let partial = lowering.scratch(y, bytes);
    let launch = Launch {
        kernel: SUM.kernel(),
        uniforms: Params::new(&partition).words(),
        bindings: vec![lowering.read(x), partial.clone()],
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(y, launch);
    sum_slices::launch(lowering, &partial, y);
}

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&ADD, Params::NAMES);
        check_twin(&SUM, Params::NAMES);
    }
}
