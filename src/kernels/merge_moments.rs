//! Host half of `shaders/merge_moments.wgsl`.

use super::lowering::{Launch, LowerError, Lowering, reading};
use super::shader::{Shader, parameters, shader};
use crate::graph::ops::{MergeMoments, RunningAverage};
use crate::graph::{Node, ValueId};
use crate::program::Binding;
use crate::shape::LANES;

pub(super) const SHADER: Shader = shader!("merge_moments", [Read, Write, Write], Params);

parameters! {
    struct Params {
        rows,
        columns,
        slices,
        half,
        /// Floats: of the running statistics, see [`super::running_average`].
        weight,
        correction,
    }
}

pub(super) fn lower(
    lowering: &mut Lowering<'_>,
    op: &MergeMoments,
    node: &Node,
) -> Result<(), LowerError> {
    let partial = lowering.read(op.inputs(&node.inputs).partial);
    let results = op.outputs(&node.outputs);
    let running = op.running.as_ref().zip(results.running);
    launch(lowering, &partial, op.rows, running, results.moments);
    Ok(())
}

/// Invocations of a workgroup, and slices that each of them loads at a time.
fn lanes(slices: u32, software: bool) -> [u32; 2] {
    match slices {
        _ if software => [64, 1],
        0..=256 => [64, 4],
        _ => [256, 4],
    }
}

/// Emits the dispatch that combines the partial statistics of a number of rows and updates the
/// running statistics, if there are any.
pub(super) fn launch(
    lowering: &mut Lowering<'_>,
    partial: &Binding,
    rows: usize,
    running: Option<(&RunningAverage, ValueId)>,
    moments: ValueId,
) {
    let columns = lowering.shape(moments).last().div_ceil(LANES) as u32;
    // A slice holds the number of rows, the mean and the sum of squared deviations.
    let slices = (partial.bytes / (3 * 16 * u64::from(columns))) as u32;
    let [workgroup, loads] = lanes(slices, lowering.target.software);
    let params = Params {
        rows: rows as u32,
        columns,
        slices,
        half: workgroup.min(slices.next_power_of_two()) / 2,
        weight: running.map_or(0, |(op, _)| op.weight.to_bits()),
        correction: running.map_or(0, |(op, _)| (op.correction() as f32).to_bits()),
    };
    let updated = match running {
        Some((_, running)) => lowering.write(running),
        None => lowering.unused(moments),
    };
    let launch = Launch {
        kernel: SHADER.variant(&[
            ("WORKGROUP", workgroup),
            ("LOADS", loads),
            ("RUNNING", u32::from(running.is_some())),
        ]),
        uniforms: params.words(),
        bindings: vec![reading(partial), lowering.write(moments), updated],
        grid: [columns, 1, 1],
        flops: 0,
        // The first invocation updates the running statistics last.
        serial_steps: slices.div_ceil(loads * workgroup) + u32::from(running.is_some()),
    };
    lowering.launch(moments, launch);
}
