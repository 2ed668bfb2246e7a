//! Memory plan: which temporary buffers share a physical one.
//!
//! A temporary buffer lives from the first to the last dispatch that binds it.
//! Going through the program in order, each buffer that comes to life takes the free slot
//! that fits best (the smallest that is large enough, else the largest, which grows), and
//! gives it back after its last use.
//! Buffers that meet in one dispatch therefore never share a slot, as WebGPU's usage rules
//! demand.

use super::{BufferId, Lifetime, Program};

/// Physical buffers for the temporaries of a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Size of each slot in bytes.
    pub slots: Vec<u64>,
    /// Slot of each buffer of the program; `None` for kept and unused ones.
    pub slot_of: Vec<Option<usize>>,
    /// First and last dispatch of each buffer; `None` if unused.
    pub lives: Vec<Option<(usize, usize)>>,
}

impl Plan {
    /// Plans a program's temporaries.
    pub fn new(program: &Program) -> Plan {
        let lives = lives(program);
        let mut plan = Plan {
            slots: Vec::new(),
            slot_of: vec![None; program.buffers.len()],
            lives,
        };
        let mut free: Vec<usize> = Vec::new();
        for at in 0..program.dispatches.len() {
            for id in starting(&plan.lives, program, at) {
                let bytes = program.buffers[id.0].bytes;
                let slot = take(&mut plan.slots, &mut free, bytes);
                plan.slot_of[id.0] = Some(slot);
            }
            let ends = |live: &Option<(usize, usize)>| live.is_some_and(|(_, last)| last == at);
            let ending = plan.lives.iter().zip(&plan.slot_of);
            free.extend(
                ending
                    .filter(|(l, _)| ends(l))
                    .filter_map(|(_, slot)| *slot),
            );
        }
        plan
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().sum()
    }
}

/// First and last dispatch that binds each buffer.
fn lives(program: &Program) -> Vec<Option<(usize, usize)>> {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    for (at, dispatch) in program.dispatches.iter().enumerate() {
        for binding in &dispatch.bindings {
            let life = lives[binding.buffer.0].get_or_insert((at, at));
            life.1 = at;
        }
    }
    lives
}

/// Temporaries that come to life at a dispatch, the largest first.
fn starting(lives: &[Option<(usize, usize)>], program: &Program, at: usize) -> Vec<BufferId> {
    let mut ids: Vec<BufferId> = program.dispatches[at]
        .bindings
        .iter()
        .map(|b| b.buffer)
        .filter(|id| {
            let temporary = program.buffers[id.0].lifetime == Lifetime::Temporary;
            temporary && lives[id.0].is_some_and(|(first, _)| first == at)
        })
        .collect();
    ids.sort_by_key(|id| (std::cmp::Reverse(program.buffers[id.0].bytes), *id));
    ids.dedup();
    ids
}

/// Takes the best free slot for a size, or opens one.
fn take(slots: &mut Vec<u64>, free: &mut Vec<usize>, bytes: u64) -> usize {
    let fits = free
        .iter()
        .enumerate()
        .filter(|(_, slot)| slots[**slot] >= bytes)
        .min_by_key(|(_, slot)| (slots[**slot], **slot));
    let largest = free
        .iter()
        .enumerate()
        .max_by_key(|(_, slot)| (slots[**slot], **slot));
    match fits.or(largest).map(|(index, _)| index) {
        Some(index) => {
            let slot = free.swap_remove(index);
            slots[slot] = slots[slot].max(bytes);
            slot
        }
        None => {
            slots.push(bytes);
            slots.len() - 1
        }
    }
}
