//! Host half of `shaders/normalize_grad.wgsl` and `shaders/normalize_grad_partial.wgsl`.

use super::lowering::{Launch, LowerError, Lowering};
use super::normalize_grad_reduce::separate_dispatch;
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters, shader};
use crate::graph::Node;
use crate::graph::ops::{NormalizeGrad, NormalizeGradInputs};
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!(
    "normalize_grad",
    [Read, Read, Read, Read, Read, Read, Write],
    Params
);

/// With partial sums of the next reduction.
pub(super) const PARTIAL: Shader = shader!(
    "normalize_grad_partial",
    [
        Read, Read, Read, Read, Read, Read, Write, Read, Read, Read, Write
    ],
    Params
);

parameters! {
    struct Params {
        rows,
        columns,
        chunk,
        epsilon,
        relu,
        /// Float: 1 / rows in training, else 0.
        share,
        /// Of the shortcut: stride, and extents of its sum and of x.
        stride,
        p,
        q,
        h,
        w,
        /// Vectors of four channels of its sum.
        sum_columns,
        /// Channels in x's last group.
        tail,
        /// Of the reduction: epsilon, a float, and whether ReLU follows its normalisation.
        reduced_epsilon,
        reduced_relu,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &NormalizeGrad,
    node: &Node,
) -> Result<(), LowerError> {
    let (named, results) = (op.inputs(&node.inputs), op.outputs(&node.outputs));
    let (x, dx) = (named.x, results.dx);
    let shape = lowering.shape(dx);
    let reduction = op.partial_affine.as_ref().zip(named.norm);
    let reduction = reduction.zip(results.partial_affine);
    // An adapter may offer too few bindings for both in one kernel.
    let fused = reduction.filter(|_| lowering.target.storage_bindings >= PARTIAL.bindings.len());
    let partition = match fused {
        Some(_) => RowPartition::reduction(shape, lowering.target).with_rows(2),
        None => RowPartition::new(shape, lowering.target),
    };
    // Without a shortcut the shader does not read its gradient.
    let dsum = named.dsum.unwrap_or(named.dy);
    let operands = NormalizeGradInputs {
        dsum: Some(dsum),
        norm: None,
        ..named
    };
    let operands = operands.list().into_iter();
    let mut bindings: Vec<_> = operands.map(|id| lowering.read(id)).collect();
    bindings.push(lowering.write(dx));
    let mut reduced = [0, 0];
    if let Some(((op, norm), partial)) = fused {
        reduced = [op.epsilon.to_bits(), u32::from(op.relu)];
        let operands = [norm.x, norm.moments, norm.affine];
        bindings.extend(operands.map(|id| lowering.read(id)));
        bindings.push(lowering.slices(partial, partition.slices()));
    }
    let (stride, [h, w, channels]) = match &op.shortcut {
        Some(shortcut) => (shortcut.stride, shortcut.input),
        None => (0, [0, 0, 1]),
    };
    let sum = &lowering.shape(dsum);
    let extent = |axis: usize| match &op.shortcut {
        Some(_) => sum.dims[axis] as u32,
        None => 0,
    };
    let share = match op.batch {
        true => 1.0 / partition.rows as f32,
        false => 0.0,
    };
    let params = Params {
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
        reduced_epsilon: reduced[0],
        reduced_relu: reduced[1],
    };
    let mut constants = partition.constants().to_vec();
    constants.push(("SHORTCUT", u32::from(op.shortcut.is_some())));
    let shader = if fused.is_some() { &PARTIAL } else { &SHADER };
    let launch = Launch {
        kernel: shader.with_storage(lowering.storage(x), &constants),
        uniforms: params.words(),
        bindings,
        grid: partition.grid(),
        flops: 0,
        serial_steps: partition.steps(),
    };
    lowering.launch(dx, launch);
    if let (Some(((op, norm), partial)), None) = (reduction, fused) {
        separate_dispatch(lowering, op, norm, dx, partial);
    }
    Ok(())
}
