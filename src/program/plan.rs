//! Memory plan: which temporary buffers share a physical one.
//!
//! A temporary buffer lives over an [`Interval`] of steps: the dispatches of a program, or
//! whatever else runs in order.
//! Buffers whose intervals meet in one step never share a slot, as WebGPU's usage rules demand.
//! From the largest to the smallest, each buffer takes the smallest slot that is free while
//! it lives, and of equal ones the one that was in use most recently; so no slot ever grows
//! ("greedy by size" of Pisarchyk and Lee, 2020, "Efficient Memory Management for Deep
//! Neural Net Inference", section 4).

use std::cmp::Reverse;

use super::{Lifetime, Program};

/// What a temporary buffer needs: bytes, from its first to its last use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Size.
    pub bytes: u64,
    /// The first step that uses it.
    pub first: usize,
    /// The last step that uses it.
    pub last: usize,
}

/// The interval of each buffer, from the buffers that each step uses, in order.
///
/// `bytes` holds the size of each temporary buffer and `None` for those that lie elsewhere,
/// which have no interval; neither have buffers that no step uses.
pub fn intervals<Uses: IntoIterator<Item = usize>>(
    bytes: &[Option<u64>],
    steps: impl IntoIterator<Item = Uses>,
) -> Vec<Option<Interval>> {
    let mut intervals: Vec<Option<Interval>> = vec![None; bytes.len()];
    for (step, uses) in steps.into_iter().enumerate() {
        for buffer in uses {
            if let Some(bytes) = bytes[buffer] {
                let new = Interval {
                    bytes,
                    first: step,
                    last: step,
                };
                intervals[buffer].get_or_insert(new).last = step;
            }
        }
    }
    intervals
}

/// Physical buffers for temporary ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Size of each slot in bytes, the largest first.
    pub slots: Vec<u64>,
    /// Slot of each buffer; `None` for those without an interval.
    pub slot_of: Vec<Option<usize>>,
}

impl Plan {
    /// Plans a program's temporaries.
    pub fn new(program: &Program) -> Plan {
        let buffers = program.buffers.iter();
        let bytes: Vec<Option<u64>> = buffers
            .map(|buffer| (buffer.lifetime == Lifetime::Temporary).then_some(buffer.bytes))
            .collect();
        let dispatches = program.dispatches.iter();
        let steps = dispatches.map(|dispatch| dispatch.bindings.iter().map(|b| b.buffer.0));
        Plan::of(&intervals(&bytes, steps))
    }

    /// Plans buffers by their intervals.
    pub fn of(intervals: &[Option<Interval>]) -> Plan {
        let numbered = intervals.iter().enumerate();
        let mut order: Vec<(usize, Interval)> = numbered
            .filter_map(|(buffer, interval)| Some((buffer, (*interval)?)))
            .collect();
        order.sort_by_key(|(buffer, interval)| (Reverse(interval.bytes), interval.first, *buffer));
        let mut slots: Vec<Slot> = Vec::new();
        let mut slot_of = vec![None; intervals.len()];
        for (buffer, interval) in order {
            let best = slots
                .iter()
                .enumerate()
                .filter_map(|(number, slot)| Some((slot.bytes, slot.gap(interval)?, number)))
                .min();
            let number = best.map_or(slots.len(), |(_, _, number)| number);
            if number == slots.len() {
                slots.push(Slot {
                    bytes: interval.bytes,
                    taken: Vec::new(),
                });
            }
            slots[number].take(interval);
            slot_of[buffer] = Some(number);
        }
        Plan {
            slots: slots.iter().map(|slot| slot.bytes).collect(),
            slot_of,
        }
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().sum()
    }
}

/// A physical buffer and when it is in use.
struct Slot {
    bytes: u64,
    /// In order of time.
    taken: Vec<Interval>,
}

impl Slot {
    /// Where in `taken` an interval would stand.
    fn place(&self, interval: Interval) -> usize {
        self.taken
            .partition_point(|other| other.first < interval.first)
    }

    /// Steps since the use before an interval; `None` if another use overlaps.
    fn gap(&self, interval: Interval) -> Option<usize> {
        let place = self.place(interval);
        let next = self.taken.get(place);
        if next.is_some_and(|next| next.first <= interval.last) {
            return None;
        }
        let Some(before) = place.checked_sub(1) else {
            return Some(usize::MAX);
        };
        let end = self.taken[before].last;
        (end < interval.first).then(|| interval.first - end)
    }

    fn take(&mut self, interval: Interval) {
        let place = self.place(interval);
        self.taken.insert(place, interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_span_all_uses_of_what_lies_here() {
        let bytes = [Some(8), None, Some(4), Some(2)];
        let found = intervals(&bytes, [vec![0, 1], vec![2], vec![1, 0]]);
        let interval = |bytes, first, last| Some(Interval { bytes, first, last });
        assert_eq!(found, [interval(8, 0, 2), None, interval(4, 1, 1), None]);
        let plan = Plan::of(&found);
        assert_eq!(plan.slots, [8, 4]);
        assert_eq!(plan.slot_of, [Some(0), None, Some(1), None]);
    }
}
