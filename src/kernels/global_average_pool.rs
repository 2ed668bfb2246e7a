//! Host half of `shaders/global_average_pool.wgsl` and
//! `shaders/global_average_pool_grad.wgsl`.

use super::grid;
use super::lower::{Launch, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::program::Access::{Read, Write};
use crate::shape::LANES;

const FORWARD: Shader = Shader {
    name: "global_average_pool",
    text: include_str!("../../shaders/global_average_pool.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

const GRAD: Shader = Shader {
    name: "global_average_pool_grad",
    text: include_str!("../../shaders/global_average_pool_grad.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        /// Groups of four in y.
        count,
        /// Pixels of a map.
        pixels,
        /// Groups of four channels.
        columns,
    }
}

parameters! {
    struct GradParams {
        rows,
        columns,
        /// Rows of a workgroup.
        chunk,
        pixels,
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, node: &Node) {
    let (x, y) = (node.inputs[0], node.outputs[0]);
    let dims = &lowering.shape(x).dims;
    let columns = dims[3].div_ceil(LANES);
    let params = Params {
        count: (dims[0] * columns) as u32,
        pixels: (dims[1] * dims[2]) as u32,
        columns: columns as u32,
    };
    let launch = Launch {
        kernel: FORWARD.suited(lowering.memory(x), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(x), lowering.write(y)],
        grid: grid((dims[0] * columns).div_ceil(64)),
        flops: 0,
    };
    lowering.launch(y, launch);
}

pub(super) fn grad(lowering: &mut Lowering<'_>, node: &Node) {
    let (dy, dx) = (node.inputs[0], node.outputs[0]);
    let shape = lowering.shape(dx);
    let partition = RowPartition::new(shape, lowering.target);
    let params = GradParams {
        rows: partition.rows,
        columns: partition.columns,
        chunk: partition.chunk,
        pixels: (shape.dims[1] * shape.dims[2]) as u32,
    };
    let launch = Launch {
        kernel: GRAD.suited(lowering.memory(dx), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(dy), lowering.write(dx)],
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(dx, launch);
}

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&FORWARD, Params::NAMES);
        check_twin(&GRAD, GradParams::NAMES);
    }
}
