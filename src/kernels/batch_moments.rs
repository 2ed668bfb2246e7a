//! Host half of `shaders/batch_moments.wgsl` and `shaders/merge_moments.wgsl`.

use super::lower::{Launch, Lowering, reading};
use super::shader::{Shader, parameters};
use super::strip::Strip;
use crate::graph::Node;
use crate::graph::ops::BatchMoments;
use crate::program::Access::{Read, Write};

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
        chunk,
        /// Lines of a workgroup of the first dispatch.
        height,
        slices,
        /// Floats: of the running statistics, see [`super::running_average`].
        weight,
        correction,
    }
}

pub(super) fn lower(lowering: &mut Lowering<'_>, op: &BatchMoments, node: &Node) {
    let (x, moments) = (node.inputs[0], node.outputs[0]);
    let strip = Strip::reduction(lowering.shape(x));
    let slices = strip.slices();
    let bytes = 16 * 2 * u64::from(slices) * u64::from(strip.columns);
    let partial = lowering.scratch(moments, bytes);
    let params = PartialParams {
        rows: strip.rows,
        columns: strip.columns,
        chunk: strip.chunk,
    };
    let launch = Launch {
        kernel: PARTIAL.suited(lowering.memory(node.inputs[0]), &[]),
        uniforms: params.words(),
        bindings: vec![lowering.read(x), partial.clone()],
        grid: strip.grid(),
        flops: 0,
    };
    lowering.launch(moments, launch);
    let params = MergeParams {
        rows: strip.rows,
        columns: strip.columns,
        chunk: strip.chunk,
        height: slices / strip.grid()[0],
        slices,
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
        grid: [strip.columns, 1, 1],
        flops: 0,
    };
    lowering.launch(moments, launch);
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
