//! Host half of `shaders/sum_slices.wgsl` and `shaders/sum_slices_many.wgsl`: the second pass of
//! every sum over slices.

use super::lowering::{Launch, LowerError, Lowering, reading};
use super::shader::{Shader, parameters, shader};
use super::{WORKGROUP, grid};
use crate::graph::ops::SumSlices;
use crate::graph::{Node, ValueId};
use crate::program::Binding;

pub(super) const SHADER: Shader = shader!("sum_slices", [Read, Write], Params);

pub(super) const MANY: Shader = shader!("sum_slices_many", [Read, Write], Params);

/// Number of slices from which a whole workgroup adds them.
const MANY_SLICES: u32 = 128;

parameters! {
    struct Params {
        /// Vectors of one slice.
        vecs,
        slices,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &SumSlices,
    node: &Node,
) -> Result<(), LowerError> {
    let partial = lowering.read(op.inputs(&node.inputs).partial);
    launch(lowering, &partial, node.outputs[0]);
    Ok(())
}

/// Sums the slices of `partial` into `y`, which fills one slice.
pub(super) fn launch(lowering: &mut Lowering<'_>, partial: &Binding, y: ValueId) {
    let destination = lowering.write(y);
    let params = Params {
        vecs: (destination.bytes / 16) as u32,
        slices: (partial.bytes / destination.bytes) as u32,
    };
    let (shader, workgroups, serial_steps) = match params.slices < MANY_SLICES {
        true => (&SHADER, params.vecs.div_ceil(WORKGROUP), params.slices),
        false => (&MANY, params.vecs, params.slices.div_ceil(WORKGROUP)),
    };
    let launch = Launch {
        kernel: shader.kernel(),
        uniforms: params.words(),
        grid: grid(workgroups as usize),
        bindings: vec![reading(partial), destination],
        flops: 0,
        serial_steps,
    };
    lowering.launch(y, launch);
}
