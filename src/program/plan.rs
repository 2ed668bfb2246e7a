//! Memory plan: which temporary buffers share a physical one.
//!
//! A temporary buffer lives from the first to the last dispatch that binds it.
//! Buffers that meet in one dispatch never share a slot, as WebGPU's usage rules demand.
//! From the largest to the smallest, each buffer takes the smallest slot that is free while
//! it lives, and of equal ones the one that was in use most recently; so no slot ever grows
//! ("greedy by size" of Pisarchyk and Lee, 2020, "Efficient Memory Management for Deep
//! Neural Net Inference", section 4).

use std::cmp::Reverse;

use super::{Lifetime, Program};

/// Physical buffers for the temporaries of a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Size of each slot in bytes, the largest first.
    pub slots: Vec<u64>,
    /// Slot of each buffer of the program; `None` for kept and unused ones.
    pub slot_of: Vec<Option<usize>>,
    /// First and last dispatch of each buffer; `None` if unused.
    pub lives: Vec<Option<Life>>,
}

impl Plan {
    /// Plans a program's temporaries.
    pub fn new(program: &Program) -> Plan {
        let lives = lives(program);
        let mut order: Vec<(usize, Life)> = Vec::new();
        for (id, buffer) in program.buffers.iter().enumerate() {
            if buffer.lifetime == Lifetime::Temporary {
                order.extend(lives[id].map(|life| (id, life)));
            }
        }
        order.sort_by_key(|(id, life)| (Reverse(program.buffers[*id].bytes), life.0, *id));
        let mut slots: Vec<Slot> = Vec::new();
        let mut slot_of = vec![None; program.buffers.len()];
        for (id, life) in order {
            let best = slots
                .iter()
                .enumerate()
                .filter_map(|(number, slot)| Some((slot.bytes, slot.gap(life)?, number)))
                .min();
            let number = best.map_or(slots.len(), |(_, _, number)| number);
            if number == slots.len() {
                slots.push(Slot {
                    bytes: program.buffers[id].bytes,
                    taken: Vec::new(),
                });
            }
            slots[number].take(life);
            slot_of[id] = Some(number);
        }
        Plan {
            slots: slots.iter().map(|slot| slot.bytes).collect(),
            slot_of,
            lives,
        }
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().sum()
    }
}

/// First and last dispatch that binds each buffer.
fn lives(program: &Program) -> Vec<Option<Life>> {
    let mut lives: Vec<Option<Life>> = vec![None; program.buffers.len()];
    for (at, dispatch) in program.dispatches.iter().enumerate() {
        for binding in &dispatch.bindings {
            let life = lives[binding.buffer.0].get_or_insert((at, at));
            life.1 = at;
        }
    }
    lives
}

/// First and last dispatch of a buffer.
type Life = (usize, usize);

/// A physical buffer and when it is in use.
struct Slot {
    bytes: u64,
    /// In order of time.
    taken: Vec<Life>,
}

impl Slot {
    /// Where in `taken` a life would stand.
    fn place(&self, life: Life) -> usize {
        self.taken.partition_point(|other| other.0 < life.0)
    }

    /// Dispatches since the use before a life; `None` if another use overlaps.
    fn gap(&self, life: Life) -> Option<usize> {
        let place = self.place(life);
        if self.taken.get(place).is_some_and(|next| next.0 <= life.1) {
            return None;
        }
        let Some(before) = place.checked_sub(1) else {
            return Some(usize::MAX);
        };
        let (_, end) = self.taken[before];
        (end < life.0).then(|| life.0 - end)
    }

    fn take(&mut self, life: Life) {
        let place = self.place(life);
        self.taken.insert(place, life);
    }
}
