//! Host half of `shaders/batch_moments.wgsl` and `shaders/merge_moments.wgsl`.
//!
//! The first is left out where the kernel that makes x left partial moments beside it.

use super::lower::{Launch, Lowering, reading};
use super::row_partition::RowPartition;
use super::shader::{Shader, parameters};
use crate::graph::ops::BatchMoments;
use crate::graph::{Node, Op, ValueId};
use crate::program::Access::{Read, Write};
use crate::program::Binding;
use crate::shape::LANES;

const PARTIAL: Shader = Shader {
    name: "batch_moments",
    text: include_str!("../../shaders/batch_moments.wgsl"),
    bindings: &[Read, Write],
    subgroups: false,
};

const MERGE: Shader = Shader {
    name: "merge_moments",
    text: include_str!("../../shaders/merge_moments.wgsl"),
    bindings: &[Read, Write, Write],
    subgroups: false,
};

/// Invocations of a workgroup that merges.
const MERGERS: u32 = 64;

parameters! {
    struct PartialParams {
        rows,
        /// Groups of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
    }
}

parameters! {
    struct MergeParams {
        rows,
        columns,
        slices,
        half,
        /// Floats: of the running statistics, see [`super::running_average`].
        weight,
        correction,
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, op: &BatchMoments, node: &Node) {
    let (x, moments) = (node.inputs[0], node.outputs[0]);
    let columns = lowering.shape(x).last().div_ceil(LANES) as u32;
    let partial = match lowering.by_product(moments) {
        Some(partial) => partial,
        None => {
            let partition = RowPartition::reduction(lowering.shape(x));
            let partial = partial(lowering, moments, partition.slices(), columns);
            let params = PartialParams {
                rows: partition.rows,
                columns,
                chunk: partition.chunk,
            };
            let launch = Launch {
                kernel: PARTIAL.suited(lowering.memory(x), &[]),
                uniforms: params.words(),
                bindings: vec![lowering.read(x), partial.clone()],
                grid: partition.grid(),
                flops: 0,
            };
            lowering.launch(moments, launch);
            partial
        }
    };
    let slices = (partial.bytes / slice_bytes(columns)) as u32;
    let params = MergeParams {
        rows: lowering.shape(x).rows() as u32,
        columns,
        slices,
        half: MERGERS.min(slices.next_power_of_two()) / 2,
        weight: op.running.as_ref().map_or(0, |r| r.weight.to_bits()),
        correction: op
            .running
            .as_ref()
            .map_or(0, |r| (r.correction() as f32).to_bits()),
    };
    // What is not written needs a place all the same, which nothing else binds.
    let running = match node.outputs.get(1) {
        Some(running) => lowering.write(*running),
        None => lowering.scratch(moments, 16),
    };
    let launch = Launch {
        kernel: MERGE.variant(&[("RUNNING", u32::from(op.running.is_some()))]),
        uniforms: params.words(),
        bindings: vec![reading(&partial), lowering.write(moments), running],
        grid: [columns, 1, 1],
        flops: 0,
    };
    lowering.launch(moments, launch);
}

/// Rows, mean and squared deviations of one slice.
fn slice_bytes(columns: u32) -> u64 {
    16 * 3 * u64::from(columns)
}

/// Room for the partial moments of some slices.
fn partial(lowering: &mut Lowering<'_>, moments: ValueId, slices: u32, columns: u32) -> Binding {
    lowering.scratch(moments, u64::from(slices) * slice_bytes(columns))
}

/// Room for partial moments that the kernel that makes x leaves beside it, in so many slices,
/// if anybody wants the moments of x.
pub(super) fn beside(lowering: &mut Lowering<'_>, x: ValueId, slices: u32) -> Option<Binding> {
    let wants = |node: &Node| matches!(node.op, Op::BatchMoments(_)) && node.inputs[0] == x;
    let moments = lowering.follower(wants)?.outputs[0];
    let columns = lowering.shape(x).last().div_ceil(LANES) as u32;
    let partial = partial(lowering, moments, slices, columns);
    lowering.leave(moments, &partial);
    Some(partial)
}

#[cfg(test)]
mod tests {
    use super::super::shader::check_twin;
    use super::*;

    #[test]
    fn shaders_agree_with_their_host_half() {
        check_twin(&PARTIAL, PartialParams::NAMES);
        check_twin(&MERGE, MergeParams::NAMES);
    }
}
