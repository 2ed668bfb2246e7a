//! Kernels over whole arenas: one dispatch, or a few where an arena is larger than a binding may
//! be.

use super::grid;
use super::lowering::{Launch, Lowering};
use super::shader::parameters;
use crate::graph::ValueId;
use crate::program::Access::{Read, Write};
use crate::program::{Access, Binding, Kernel, OFFSET_ALIGNMENT};

parameters! {
    pub(super) struct Params {
        /// Groups of four.
        count,
    }
}

/// The first binding says how much there is to do.
pub(super) fn launch(
    lowering: &mut Lowering<'_>,
    kernel: &Kernel,
    of: ValueId,
    bindings: Vec<Binding>,
) {
    let count = bindings[0].bytes / 16;
    let launch = Launch {
        kernel: kernel.clone(),
        uniforms: Params {
            count: count as u32,
        }
        .words(),
        bindings,
        grid: grid((count as usize).div_ceil(64)),
        flops: 0,
    };
    lowering.launch(of, launch);
}

/// Bindings that cover runs of values which lie one after another in memory, the same runs
/// for every operand, each at most as large as a binding may be.
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

/// Whether each value of `next` lies right behind its run, up to alignment.
fn follows(run: &[Binding], next: &[Binding]) -> bool {
    let pairs = run.iter().zip(next);
    pairs.into_iter().all(|(run, next)| {
        let end = (run.offset + run.bytes).next_multiple_of(OFFSET_ALIGNMENT);
        run.buffer == next.buffer && next.offset == end
    })
}

/// Cuts a run where bindings would become too large.
fn split(run: &[Binding], limit: u64) -> Vec<Vec<Binding>> {
    let bytes = run[0].bytes;
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
