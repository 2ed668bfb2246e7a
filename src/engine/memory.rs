//! Memory that programs need on a device, computed before anything is built.

use crate::kernels::Target;
use crate::memory::{OutOfMemory, check as check_memory};
use crate::program::Program;
use crate::program::plan::{Plan, kept_buffers, shared_slots};

/// Bytes that a set of programs needs on a device, by purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Kept buffers: name and bytes, the largest first.
    pub kept: Vec<(String, u64)>,
    /// Temporary buffers, shared by values with disjoint lifetimes.
    pub temporary: u64,
    /// The largest storage buffer binding.
    pub largest_binding: u64,
}

impl MemoryPlan {
    /// The plan of programs that are loaded together.
    pub fn new(programs: &[&Program]) -> MemoryPlan {
        let plans: Vec<Plan> = programs.iter().map(|program| Plan::new(program)).collect();
        let mut kept: Vec<(String, u64)> = kept_buffers(programs)
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect();
        kept.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let dispatches = programs.iter().flat_map(|p| &p.dispatches);
        let bindings = dispatches.flat_map(|d| &d.bindings);
        MemoryPlan {
            kept,
            temporary: shared_slots(&plans).iter().sum(),
            largest_binding: bindings.map(|b| b.bytes).max().unwrap_or(0),
        }
    }

    /// Checks that programs which are loaded together fit the memory of the process, if they run on
    /// a software adapter: it grants buffers that this memory cannot hold.
    ///
    /// # Errors
    /// If they do not fit.
    pub(super) fn check(target: &Target, programs: &[&Program]) -> Result<(), OutOfMemory> {
        match target.software {
            true => check_memory(MemoryPlan::new(programs).total()),
            false => Ok(()),
        }
    }

    /// Bytes of all buffers.
    pub fn total(&self) -> u64 {
        self.temporary + self.kept.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}
