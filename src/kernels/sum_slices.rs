//! Host half of `shaders/sum_slices.wgsl`: the second pass of every sum over slices.

use super::grid;
use super::lowering::{Launch, LowerError, Lowering, reading};
use super::shader::{Shader, parameters, shader};
use crate::graph::ops::SumSlices;
use crate::graph::{Node, ValueId};
use crate::program::Binding;

pub(super) const SHADER: Shader = shader!("sum_slices", [Read, Write], Params);

/// How a workgroup divides its work.
struct Lanes {
    /// Invocations along the vectors of a slice, and along the slices.
    vecs: u32,
    slices: u32,
    /// Slices that an invocation loads at a time.
    loads: u32,
}

impl Lanes {
    const fn new(vecs: u32, slices: u32, loads: u32) -> Lanes {
        Lanes {
            vecs,
            slices,
            loads,
        }
    }

    /// On GPUs, many invocations add the slices of a vector: those of the gradients of weights,
    /// which have many vectors, and those of reductions over pixels, whose slices may outnumber
    /// the vectors. Software adapters do not wait for memory, and have few slices.
    fn of(params: &Params, software: bool) -> Lanes {
        match params.slices {
            _ if software => Lanes::new(64, 1, 1),
            0..8 => Lanes::new(64, 1, 4),
            slices if params.vecs < slices => Lanes::new(4, 64, 4),
            _ => Lanes::new(32, 8, 4),
        }
    }
}

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
    let lanes = Lanes::of(&params, lowering.target.software);
    let constants = [
        ("VEC_LANES", lanes.vecs),
        ("SLICE_LANES", lanes.slices),
        ("WORKGROUP", lanes.vecs * lanes.slices),
        ("LOADS", lanes.loads),
    ];
    let launch = Launch {
        kernel: SHADER.variant(&constants),
        uniforms: params.words(),
        grid: grid(params.vecs.div_ceil(lanes.vecs) as usize),
        bindings: vec![reading(partial), destination],
        flops: 0,
        serial_steps: params.slices.div_ceil(lanes.loads * lanes.slices),
    };
    lowering.launch(y, launch);
}
