//! What some programs take on a device, before anything is built.

use std::collections::HashMap;

use crate::program::plan::Plan;
use crate::program::{Lifetime, Program};

/// Bytes that a set of graphs takes on a device, by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Kept buffers: name and bytes, the largest first.
    pub kept: Vec<(String, u64)>,
    /// Temporary buffers, shared by everything that is not alive at the same time.
    pub temporary: u64,
    /// The largest part of a buffer that one binding shows.
    pub largest_binding: u64,
}

impl MemoryPlan {
    /// Plans programs that are loaded together.
    pub fn new(programs: &[&Program]) -> MemoryPlan {
        let mut kept: HashMap<&str, u64> = HashMap::new();
        let mut slots: Vec<u64> = Vec::new();
        for program in programs {
            for buffer in &program.buffers {
                if buffer.lifetime == Lifetime::Kept {
                    let size = kept.entry(&buffer.name).or_default();
                    *size = (*size).max(buffer.bytes);
                }
            }
            let sizes = Plan::new(program).slots;
            slots.resize(slots.len().max(sizes.len()), 0);
            for (slot, size) in slots.iter_mut().zip(sizes) {
                *slot = (*slot).max(size);
            }
        }
        let mut kept: Vec<(String, u64)> = kept
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        kept.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let dispatches = programs.iter().flat_map(|p| &p.dispatches);
        let bindings = dispatches.flat_map(|d| &d.bindings);
        MemoryPlan {
            kept,
            temporary: slots.iter().sum(),
            largest_binding: bindings.map(|b| b.bytes).max().unwrap_or(0),
        }
    }

    /// All bytes.
    pub fn total(&self) -> u64 {
        self.temporary + self.kept.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}
