//! Host half of `shaders/normalize.wgsl`, `shaders/normalize_grad_reduce.wgsl` and
//! `shaders/normalize_grad.wgsl`.

use super::lower::{Launch, Lowering};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters};
use super::sum_slices;
use crate::graph::ops::{Normalize, NormalizeGrad, NormalizeGradReduce};
use crate::graph::{Node, Op, ValueId};
use crate::program::Access::{Read, Write};
use crate::program::Binding;
use crate::shape::LANES;

const FORWARD: Shader = Shader {
    name: "normalize",
    text: include_str!("../../shaders/normalize.wgsl"),
    bindings: &[Read, Read, Read, Write],
    subgroups: false,
};

const REDUCE: Shader = Shader {
    name: "normalize_grad_reduce",
    text: include_str!("../../shaders/normalize_grad_reduce.wgsl"),
    bindings: &[Read, Read, Read, Read, Write],
    subgroups: false,
};

const GRAD: Shader = Shader {
    name: "normalize_grad",
    text: include_str!("../../shaders/normalize_grad.wgsl"),
    bindings: &[Read, Read, Read, Read, Read, Read, Write],
    subgroups: false,
};

parameters! {
    struct Params {
        rows,
        /// Groups of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
        /// Float.
        epsilon,
        /// 1 if ReLU follows.
        relu,
    }
}

parameters! {
    struct GradParams {
        rows,
        columns,
        chunk,
        epsilon,
        relu,
        /// Float: 1 / rows in training, else 0.
        share,
        /// Of the shortcut: extents of its sum and of x.
        stride,
        p,
        q,
        h,
        w,
        /// Groups of four channels of its sum.
        sum_columns,
        /// Channels in x's last group.
        tail,
    }
}

impl Params {
    fn new(partition: &RowPartition, epsilon: f32, relu: bool) -> Params {
        Params {
            rows: partition.rows,
            columns: partition.columns,
            chunk: partition.chunk,
            epsilon: epsilon.to_bits(),
            relu: u32::from(relu),
        }
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, op: &Normalize, node: &Node) {
    let y = node.outputs[0];
    let partition = RowPartition::new(lowering.shape(y), lowering.target);
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(lowering.write(y));
    let launch = Launch {
        kernel: FORWARD.suited(lowering.memory(node.inputs[0]), &[]),
        uniforms: Params::new(&partition, op.epsilon, op.relu).words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(y, launch);
}

pub(super) fn grad_reduce(lowering: &mut Lowering<'_>, op: &NormalizeGradReduce, node: &Node) {
    let daffine = node.outputs[0];
    if let Some(partial) = lowering.by_product(daffine) {
        sum_slices::launch(lowering, &partial, daffine);
        return;
    }
    let partition = RowPartition::reduction(lowering.shape(node.inputs[0]));
    let bytes = u64::from(partition.slices()) * lowering.shape(daffine).bytes();
    let partial = lowering.scratch(daffine, bytes);
    let mut bindings: Vec<_> = node.inputs.iter().map(|id| lowering.read(*id)).collect();
    bindings.push(partial.clone());
    let launch = Launch {
        kernel: REDUCE.suited(lowering.memory(node.inputs[0]), &[]),
        uniforms: Params::new(&partition, op.epsilon, op.relu).words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
    };
    lowering.launch(daffine, launch);
    sum_slices::launch(lowering, &partial, daffine);
}

/// Room for the partial gradients of scale and shift that the kernel that makes dy leaves
/// beside it, in so many slices, with the normalisation and its (x, moments, affine), if
/// anybody wants them and all is there.
pub(super) fn beside<'a>(
    lowering: &mut Lowering<'a>,
    dy: ValueId,
    slices: u32,
) -> Option<(Binding, &'a NormalizeGradReduce, [ValueId; 3])> {
    let wants = |node: &Node| matches!(node.op, Op::NormalizeGradReduce(_)) && node.inputs[1] == dy;
    let node = lowering.follower(wants)?;
    let Op::NormalizeGradReduce(op) = &node.op else {
        return None;
    };
    let operands = [0, 2, 3].map(|at| node.inputs[at]);
    if !operands.iter().all(|id| lowering.is_made(*id)) {
        return None;
    }
    let daffine = node.outputs[0];
    let bytes = u64::from(slices) * lowering.shape(daffine).bytes();
    let partial = lowering.scratch(daffine, bytes);
    lowering.leave(daffine, &partial);
    Some((partial, op, operands))
}

pub(super) fn grad(lowering: &mut Lowering<'_>, op: &NormalizeGrad, node: &Node) {
    let dx = node.outputs[0];
    let partition = RowPartition::new(lowering.shape(dx), lowering.target);
    let operand = |at: usize| *node.inputs.get(at).unwrap_or(&node.inputs[1]);
    let mut bindings: Vec<_> = (0..6).map(|at| lowering.read(operand(at))).collect();
    bindings.push(lowering.write(dx));
    let (stride, [h, w, channels]) = match &op.shortcut {
        Some(shortcut) => (shortcut.stride, shortcut.input),
        None => (0, [0, 0, 1]),
    };
    let sum = &lowering.shape(operand(5));
    let extent = |axis: usize| match &op.shortcut {
        Some(_) => sum.dims[axis] as u32,
        None => 0,
    };
    let share = match op.batch {
        true => 1.0 / partition.rows as f32,
        false => 0.0,
    };
    let params = GradParams {
        rows: partition.rows,
        columns: partition.columns,
        chunk: partition.chunk,
        epsilon: op.epsilon.to_bits(),
        relu: u32::from(op.relu),
        share: share.to_bits(),
        stride: stride as u32,
        p: extent(1),
        q: extent(2),
        h: h as u32,
        w: w as u32,
        sum_columns: sum.last().div_ceil(LANES) as u32,
        tail: ((channels - 1) % LANES + 1) as u32,
    };
    let launch = Launch {
        kernel: GRAD.suited(
            lowering.memory(node.inputs[0]),
            &[("SHORTCUT", u32::from(op.shortcut.is_some()))],
        ),
        uniforms: params.words(),
        bindings,
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
        check_twin(&REDUCE, Params::NAMES);
        check_twin(&GRAD, GradParams::NAMES);
    }
}
