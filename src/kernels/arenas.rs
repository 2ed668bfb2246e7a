//! Kernels over whole arenas: one dispatch, or a few where an arena exceeds the largest binding.

use super::elementwise;
use super::lowering::Lowering;
use crate::graph::{ValueId, lasting};
use crate::program::Access::{Read, Write};
use crate::program::{Access, Binding, Kernel, OFFSET_ALIGNMENT};

/// The bindings of one dispatch, one for each operand.
#[derive(Clone)]
pub(super) struct Part {
    /// Offset in bytes of its start among the values, as they lie in an arena.
    pub(super) start: u64,
    pub(super) bindings: Vec<Binding>,
}

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

/// Merges values that are contiguous in memory into as few bindings as the target allows: one part
/// for each dispatch.
pub(super) fn parts(lowering: &Lowering<'_>, operands: &[(&[ValueId], Access)]) -> Vec<Part> {
    let limit = lowering.target.max_binding / OFFSET_ALIGNMENT * OFFSET_ALIGNMENT;
    let bind = |(ids, access): &(&[ValueId], Access), index: usize| match access {
        Read => lowering.read(ids[index]),
        Write => lowering.write(ids[index]),
    };
    let shapes = operands[0].0.iter().map(|id| lowering.shape(*id));
    let (starts, _) = lasting::offsets(shapes);
    let mut runs: Vec<Part> = Vec::new();
    for (index, start) in starts.into_iter().enumerate() {
        let bindings = operands.iter().map(|operand| bind(operand, index));
        let next = Part {
            start,
            bindings: bindings.collect(),
        };
        match runs.last_mut().filter(|run| run.precedes(&next)) {
            Some(run) => {
                for (run, next) in run.bindings.iter_mut().zip(&next.bindings) {
                    run.bytes = next.offset + next.bytes - run.offset;
                }
            }
            None => runs.push(next),
        }
    }
    runs.iter().flat_map(|run| run.split(limit)).collect()
}

impl Part {
    /// Whether each binding of `next` starts where its own ends, up to alignment.
    fn precedes(&self, next: &Part) -> bool {
        let pairs = self.bindings.iter().zip(&next.bindings);
        pairs.into_iter().all(|(own, next)| {
            let end = (own.offset + own.bytes).next_multiple_of(OFFSET_ALIGNMENT);
            own.buffer == next.buffer && next.offset == end
        })
    }

    /// Splits it into parts whose bindings have at most `limit` bytes.
    fn split(&self, limit: u64) -> Vec<Part> {
        let bytes = self.bindings[0].bytes;
        debug_assert!(self.bindings.iter().all(|binding| binding.bytes == bytes));
        let part = |start: u64| {
            let cut = |binding: &Binding| Binding {
                offset: binding.offset + start,
                bytes: limit.min(bytes - start),
                ..binding.clone()
            };
            Part {
                start: self.start + start,
                bindings: self.bindings.iter().map(cut).collect(),
            }
        };
        (0..bytes).step_by(limit as usize).map(part).collect()
    }
}
