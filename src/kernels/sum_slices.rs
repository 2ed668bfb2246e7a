//! Host half of `shaders/sum_slices.wgsl`: the second pass of every sum over slices.
//!
//! Launching such a small dispatch costs more than its work. The gradient of a convolution's weights
//! is usually not needed before the end of the step, so its sum is deferred, and computed in the
//! dispatch of another sum that follows; the dispatch has the label of that sum.

use super::lowering::{Launch, LowerError, Lowering, SliceSum, reading};
use super::shader::{Shader, parameters, shader};
use super::{WORKGROUP, grid};
use crate::graph::ops::SumSlices;
use crate::graph::{Node, ValueId};
use crate::program::Binding;

pub(super) const SHADER: Shader = shader!("sum_slices", [Read, Read, Write, Write], Params);

/// Invocations of a workgroup, and slices that each of them loads at a time.
fn sizes(software: bool) -> [u32; 2] {
    match software {
        true => [WORKGROUP, 1],
        false => [256, 4],
    }
}

parameters! {
    struct Params {
        /// Vectors of one slice of the first sum.
        vecs,
        slices,
        /// Invocations of a workgroup along the vectors; the others are along the slices.
        vec_lanes,
        /// Workgroups of the first sum.
        first_groups,
        /// Of the second sum.
        other_vecs,
        other_slices,
        other_vec_lanes,
    }
}

/// How the invocations of a workgroup are divided.
struct Division {
    vecs: u32,
    slices: u32,
    vec_lanes: u32,
    /// Steps of an invocation.
    steps: u32,
}

impl Division {
    /// On GPUs, many invocations add the slices of a vector: those of the gradients of weights,
    /// which have many vectors, and those of reductions over pixels, whose slices may outnumber
    /// the vectors. Software adapters do not wait for memory, and have few slices.
    fn of(lowering: &Lowering<'_>, sum: &SliceSum) -> Division {
        let bytes = lowering.write(sum.total).bytes;
        let vecs = (bytes / 16) as u32;
        let slices = (sum.partial.bytes / bytes) as u32;
        let software = lowering.target.software;
        let [workgroup, loads] = sizes(software);
        let vec_lanes = match slices {
            _ if software => workgroup,
            0..8 => workgroup,
            _ if vecs < slices => 4,
            _ => 32,
        };
        Division {
            vecs,
            slices,
            vec_lanes,
            steps: slices.div_ceil(loads * (workgroup / vec_lanes)),
        }
    }

    fn groups(&self) -> u32 {
        self.vecs.div_ceil(self.vec_lanes)
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

/// Sums the slices of `partial` into `total`, which fills one slice, in one dispatch with the deferred
/// sum, if there is one.
pub(super) fn launch(lowering: &mut Lowering<'_>, partial: &Binding, total: ValueId) {
    let other = lowering.deferred.take();
    let partial = partial.clone();
    launch_both(lowering, &SliceSum { partial, total }, other.as_ref());
}

/// Defers the sum to the next dispatch of sums, at the latest before the first node that reads it. If
/// one is deferred already, both are launched at once.
pub(super) fn defer(lowering: &mut Lowering<'_>, partial: &Binding, total: ValueId) {
    match lowering.deferred {
        Some(_) => launch(lowering, partial, total),
        None => {
            let partial = partial.clone();
            lowering.deferred = Some(SliceSum { partial, total });
        }
    }
}

/// Launches the deferred sum if `before` uses it; with `None`, in any case.
pub(super) fn launch_deferred(lowering: &mut Lowering<'_>, before: Option<&Node>) {
    let is_due = |sum: &mut SliceSum| {
        before.is_none_or(|node| {
            let mut used = node.inputs.iter().chain(&node.outputs);
            used.any(|id| *id == sum.total)
        })
    };
    if let Some(sum) = lowering.deferred.take_if(is_due) {
        launch_both(lowering, &sum, None);
    }
}

fn launch_both(lowering: &mut Lowering<'_>, first: &SliceSum, other: Option<&SliceSum>) {
    let own = Division::of(lowering, first);
    let second = other.map(|sum| Division::of(lowering, sum));
    let mut params = Params {
        vecs: own.vecs,
        slices: own.slices,
        vec_lanes: own.vec_lanes,
        first_groups: own.groups(),
        ..Params::default()
    };
    let (mut groups, mut steps) = (own.groups(), own.steps);
    if let Some(second) = second {
        params.other_vecs = second.vecs;
        params.other_slices = second.slices;
        params.other_vec_lanes = second.vec_lanes;
        groups += second.groups();
        steps = steps.max(second.steps);
    }
    let software = lowering.target.software;
    let [workgroup, loads] = sizes(software);
    let constants = [
        ("WORKGROUP", workgroup),
        ("LOADS", loads),
        ("LINES", u32::from(!software)),
        ("PAIR", u32::from(other.is_some())),
    ];
    let launch = Launch {
        kernel: SHADER.variant(&constants),
        uniforms: params.words(),
        grid: grid(groups as usize),
        bindings: vec![
            reading(&first.partial),
            reading(&other.unwrap_or(first).partial),
            lowering.write(first.total),
            match other {
                Some(other) => lowering.write(other.total),
                None => lowering.unused(first.total),
            },
        ],
        flops: 0,
        serial_steps: steps,
    };
    lowering.launch(first.total, launch);
}
