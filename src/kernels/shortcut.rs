//! Host half of `shaders/shortcut_add.wgsl` and `shaders/shortcut_grad.wgsl`.

use super::batch_moments;
use super::lower::{Launch, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters};
use crate::graph::Node;
use crate::graph::ops::{ShortcutAdd, ShortcutGrad};
use crate::program::Access::{Read, Write};
use crate::shape::LANES;

const ADD: Shader = Shader {
    name: "shortcut_add",
    text: include_str!("../../shaders/shortcut_add.wgsl"),
    bindings: &[Read, Read, Read, Read, Write, Write],
    subgroups: false,
};

const GRAD: Shader = Shader {
    name: "shortcut_grad",
    text: include_str!("../../shaders/shortcut_grad.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

parameters! {
    struct AddParams {
        rows,
        /// Groups of four channels of y.
        columns,
        /// Rows of a workgroup.
        chunk,
        stride,
        p,
        q,
        h,
        w,
        /// Groups of four channels of x.
        input_columns,
        /// Float.
        epsilon,
    }
}

parameters! {
    struct GradParams {
        rows,
        /// Groups of four channels of x.
        columns,
        chunk,
        stride,
        p,
        q,
        h,
        w,
        /// Groups of four channels of dy.
        output_columns,
        /// Channels in x's last group.
        tail,
    }
}

pub(super) fn add(lowering: &mut Lowering<'_>, op: &ShortcutAdd, node: &Node) {
    let y = node.outputs[0];
    let (y_shape, x_shape) = (lowering.shape(y), lowering.shape(node.inputs[1]));
    let mut partition = RowPartition::new(y_shape, lowering.target);
    let reduction = RowPartition::reduction(y_shape);
    let partial = batch_moments::beside(lowering, y, reduction.slices());
    if partial.is_some() {
        partition = reduction;
    }
    let params = AddParams {
        rows: partition.rows,
        columns: partition.columns,
        chunk: partition.chunk,
        stride: op.stride as u32,
        p: y_shape.dims[1] as u32,
        q: y_shape.dims[2] as u32,
        h: x_shape.dims[1] as u32,
        w: x_shape.dims[2] as u32,
        input_columns: x_shape.last().div_ceil(LANES) as u32,
        epsilon: op.normalize.as_ref().map_or(0, |n| n.epsilon.to_bits()),
    };
    let branch = node.inputs[0];
    let operand = |at: usize| node.inputs.get(at).copied().unwrap_or(branch);
    let mut bindings = [0, 1, 2, 3].map(|at| lowering.read(operand(at))).to_vec();
    bindings.push(lowering.write(y));
    let constants = [
        ("NORMALIZE", u32::from(op.normalize.is_some())),
        ("MOMENTS", u32::from(partial.is_some())),
    ];
    // What is not written needs a place all the same.
    bindings.push(partial.unwrap_or_else(|| lowering.scratch(y, 16)));
    let launch = Launch {
        kernel: ADD.suited(lowering.memory(branch), &constants),
        uniforms: params.words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(y, launch);
}

pub(super) fn grad(lowering: &mut Lowering<'_>, op: &ShortcutGrad, node: &Node) {
    let (dy, dx) = (node.inputs[0], node.outputs[0]);
    let (dy_shape, dx_shape) = (lowering.shape(dy), lowering.shape(dx));
    let partition = RowPartition::new(dx_shape, lowering.target);
    let params = GradParams {
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
        kernel: GRAD.suited(lowering.memory(node.inputs[0]), &[]),
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
        check_twin(&ADD, AddParams::NAMES);
        check_twin(&GRAD, GradParams::NAMES);
    }
}
