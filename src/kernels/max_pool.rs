//! Host half of `shaders/max_pool.wgsl` and `shaders/max_pool_grad.wgsl`.

use super::lower::{Launch, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::graph::ops::{MaxPool, MaxPoolGrad, Window};
use crate::program::Access::{Read, Write};
use crate::shape::{LANES, Shape};

const FORWARD: Shader = Shader {
    name: "max_pool",
    text: include_str!("../../shaders/max_pool.wgsl"),
    bindings: &[Read, Write, Write],
    subgroups: false,
};

const GRAD: Shader = Shader {
    name: "max_pool_grad",
    text: include_str!("../../shaders/max_pool_grad.wgsl"),
    bindings: &[Read, Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        rows,
        /// Groups of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
        kernel,
        stride,
        padding,
        p,
        q,
        h,
        w,
        /// Channels in the last group.
        tail,
    }
}

impl Params {
    fn new(
        partition: &RowPartition,
        kernel: usize,
        window: Window,
        y: &Shape,
        x: &Shape,
    ) -> Params {
        Params {
            rows: partition.rows,
            columns: partition.columns,
            chunk: partition.chunk,
            kernel: kernel as u32,
            stride: window.stride as u32,
            padding: window.padding as u32,
            p: y.dims[1] as u32,
            q: y.dims[2] as u32,
            h: x.dims[1] as u32,
            w: x.dims[2] as u32,
            tail: ((x.dims[3] - 1) % LANES + 1) as u32,
        }
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, op: &MaxPool, node: &Node) {
    let (x, y, argmax) = (node.inputs[0], node.outputs[0], node.outputs[1]);
    let partition = RowPartition::new(lowering.shape(y), lowering.target);
    let params = Params::new(
        &partition,
        op.kernel,
        op.window,
        lowering.shape(y),
        lowering.shape(x),
    );
    let launch = Launch {
        kernel: FORWARD.suited(lowering.memory(x), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(x), lowering.write(y), lowering.write(argmax)],
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(y, launch);
}

pub(super) fn grad(lowering: &mut Lowering<'_>, op: &MaxPoolGrad, node: &Node) {
    let (dy, argmax, dx) = (node.inputs[0], node.inputs[1], node.outputs[0]);
    let partition = RowPartition::new(lowering.shape(dx), lowering.target);
    let params = Params::new(
        &partition,
        op.kernel,
        op.window,
        lowering.shape(dy),
        lowering.shape(dx),
    );
    let launch = Launch {
        kernel: GRAD.suited(lowering.memory(dx), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(dy), lowering.read(argmax), lowering.write(dx)],
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
        check_twin(&GRAD, Params::NAMES);
    }
}
