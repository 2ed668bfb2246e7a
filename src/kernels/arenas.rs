//! Kernels over whole arenas: one dispatch, or a few where an arena exceeds the largest binding.

use super::elementwise;
use super::lowering::Lowering;
use crate::graph::ValueId;
use crate::program::Access::{Read, Write};
use crate::program::{Access, Binding, Kernel, OFFSET_ALIGNMENT};

/// Emits a dispatch over the elements of the first binding.
pub(super) fn launch(
    lowering: &mut Lowering<'_>,
    kernel: &Kernel,
    of: ValueId,
    bindings: Vec<Binding>,
) {
    let count = (bindings[0].bytes / 16) as usize;
    elementwise::launch(lowering, of, kernel.clone(), bindings, count);
}

/// Merges values that are contiguous in memory into as few bindings as the target allows.
/// Each list holds the bindings of one dispatch, one for each operand.
pub(super) fn parts(
    lowering: &Lowering<'_>,
    operands: &[(&[ValueId], Access)],
) -> Vec<Vec<Binding>> {
    let limit = lowering.target.max_binding / OFFSET_ALIGNMENT * OFFSET_ALIGNMENT;
    let bind = |(ids, access): &(&[ValueId], Access), index: usize| match access {
        Read => lowering.read(ids[index]),
        Write => lowering.write(ids[index]),
    };
    let mut runs: Vec<Vec<Binding>> = Vec::new();
    for index in 0..operands[0].0.len() {
        let next: Vec<Binding> = operands
            .iter()
            .map(|operand| bind(operand, index))
            .collect();
        match runs.last_mut().filter(|run| follows(run, &next)) {
            Some(run) => {
                for (run, next) in run.iter_mut().zip(&next) {
                    run.bytes = next.offset + next.bytes - run.offset;
                }
            }
            None => runs.push(next),
        }
    }
    runs.iter().flat_map(|run| split(run, limit)).collect()
}

/// Whether each value of `next` starts where its run ends, up to alignment.
fn follows(run: &[Binding], next: &[Binding]) -> bool {
    let pairs = run.iter().zip(next);
    pairs.into_iter().all(|(run, next)| {
        let end = (run.offset + run.bytes).next_multiple_of(OFFSET_ALIGNMENT);
        run.buffer == next.buffer && next.offset == end
    })
}

/// Splits a run into bindings of at most `limit` bytes.
fn split(run: &[Binding], limit: u64) -> Vec<Vec<Binding>> {
    let bytes = run[0].bytes;
    debug_assert!(run.iter().all(|binding| binding.bytes == bytes), "{run:?}");
    let part = |start: u64| {
        let cut = |binding: &Binding| Binding {
            offset: binding.offset + start,
            bytes: limit.min(bytes - start),
            ..binding.clone()
        };
        run.iter().map(cut).collect()
    };
    (0..bytes).step_by(limit as usize).map(part).collect()
}
