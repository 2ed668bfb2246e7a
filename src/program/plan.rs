//! Memory plan: temporary buffers that share physical ones.
//!
//! A temporary buffer is live over an [`Interval`] of steps: the dispatches of a program, or the
//! nodes of a graph.
//! Buffers that are live in the same step never share a slot, as WebGPU's usage rules require.
//! In order of decreasing size, each buffer takes the smallest slot that is free while it is
//! live, and among equal slots the one used most recently before; so no slot ever grows
//! ("greedy by size" of Pisarchyk and Lee, 2020, "Efficient Memory Management for Deep
//! Neural Net Inference", section 4).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use super::{Lifetime, Program};

/// Size and live interval of a temporary buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Size in bytes.
    pub bytes: u64,
    /// The first step that uses it.
    pub first: usize,
    /// The last step that uses it.
    pub last: usize,
}

/// The interval of each buffer, from the buffers that each step uses.
///
/// `bytes` holds the size of each temporary buffer and `None` for all others. The interval is
/// `None` for those and for buffers that no step uses.
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

/// Slot sizes that suffice for each of the plans: programs that are loaded together share slots.
pub fn shared_slots(plans: &[Plan]) -> Vec<u64> {
    let mut slots: Vec<u64> = Vec::new();
    for plan in plans {
        slots.resize(slots.len().max(plan.slots.len()), 0);
        for (slot, bytes) in slots.iter_mut().zip(&plan.slots) {
            *slot = (*slot).max(*bytes);
        }
    }
    slots
}

/// Bytes of each kept buffer, by name: the most that any of the programs needs.
pub fn kept_buffers<'a>(programs: &[&'a Program]) -> BTreeMap<&'a str, u64> {
    let mut kept = BTreeMap::new();
    for buffer in programs.iter().flat_map(|program| &program.buffers) {
        if buffer.lifetime == Lifetime::Kept {
            let bytes: &mut u64 = kept.entry(buffer.name.as_str()).or_default();
            *bytes = (*bytes).max(buffer.bytes);
        }
    }
    kept
}

/// Assignment of temporary buffers to slots, the physical buffers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Size of each slot in bytes, in decreasing order.
    pub slots: Vec<u64>,
    /// Index of each buffer's slot; `None` for buffers without an interval.
    pub slot_of: Vec<Option<usize>>,
}

impl Plan {
    /// Plans the temporary buffers of a program.
    pub fn new(program: &Program) -> Plan {
        let buffers = program.buffers.iter();
        let bytes: Vec<Option<u64>> = buffers
            .map(|buffer| (buffer.lifetime == Lifetime::Temporary).then_some(buffer.bytes))
            .collect();
        let dispatches = program.dispatches.iter();
        let steps = dispatches.map(|dispatch| dispatch.bindings.iter().map(|b| b.buffer.0));
        Plan::of(&intervals(&bytes, steps))
    }

    /// Plans buffers from their intervals.
    pub fn of(intervals: &[Option<Interval>]) -> Plan {
        let numbered = intervals.iter().enumerate();
        let mut order: Vec<(usize, Interval)> = numbered
            .filter_map(|(buffer, interval)| Some((buffer, (*interval)?)))
            .collect();
        order.sort_by_key(|(buffer, interval)| (Reverse(interval.bytes), interval.first, *buffer));
        let mut slots = Vec::new();
        let mut slot_of = vec![None; intervals.len()];
        let mut gaps = Gaps::default();
        let end = order.iter().map(|(_, interval)| interval.last + 1).max();
        let mut used = UsedSlots::new(end.unwrap_or(0));
        for (buffer, interval) in order {
            // Most buffers that live long find no slot; this avoids a search.
            let found = match used.most(interval) == slots.len() {
                true => None,
                false => gaps.take(interval),
            };
            let gap = found.unwrap_or_else(|| {
                slots.push(interval.bytes);
                Gap {
                    bytes: interval.bytes,
                    start: 0,
                    end: usize::MAX,
                    slot: slots.len() - 1,
                }
            });
            slot_of[buffer] = Some(gap.slot);
            gaps.insert_around(gap, interval);
            used.add(interval);
        }
        Plan { slots, slot_of }
    }

    /// Total size of all slots in bytes.
    pub fn bytes(&self) -> u64 {
        self.slots.iter().sum()
    }
}

/// Steps in which a slot is free, between two uses of it.
#[derive(Clone, Copy)]
struct Gap {
    /// Size of the slot.
    bytes: u64,
    /// The first step, 0 if the slot is not used before.
    start: usize,
    /// The first step in which it is used again, `usize::MAX` if it is not.
    end: usize,
    slot: usize,
}

impl Gap {
    /// The order in which a buffer tries gaps: of slots of one size, the one used most recently
    /// before the buffer has the gap that starts last.
    fn order(&self) -> (u64, Reverse<usize>, usize) {
        (self.bytes, Reverse(self.start), self.slot)
    }

    fn holds(&self, interval: Interval) -> bool {
        self.start <= interval.first && interval.last < self.end
    }
}

/// The gaps of all slots, in order.
///
/// They are in blocks, so that most of those that hold no buffer are skipped a block at a time:
/// graphs of many layers have many.
#[derive(Default)]
struct Gaps {
    blocks: Vec<Block>,
}

/// A block with twice as many gaps is split.
const BLOCK: usize = 64;

/// Gaps that follow one another in order; at least one.
struct Block {
    gaps: Vec<Gap>,
    /// The first start of a gap.
    start: usize,
    /// The last end of a gap.
    end: usize,
}

impl Block {
    fn new(gaps: Vec<Gap>) -> Block {
        let start = gaps.iter().map(|gap| gap.start).min();
        let end = gaps.iter().map(|gap| gap.end).max();
        Block {
            gaps,
            start: start.expect("a block has gaps"),
            end: end.expect("a block has gaps"),
        }
    }

    /// Index of the first gap that holds an interval.
    fn find(&self, interval: Interval) -> Option<usize> {
        let may_hold = self.start <= interval.first && interval.last < self.end;
        let find = || self.gaps.iter().position(|gap| gap.holds(interval));
        may_hold.then(find)?
    }
}

impl Gaps {
    /// Removes the first gap that holds an interval.
    fn take(&mut self, interval: Interval) -> Option<Gap> {
        let mut blocks = self.blocks.iter().enumerate();
        let found = blocks.find_map(|(number, block)| Some((number, block.find(interval)?)));
        let (number, place) = found?;
        let mut gaps = std::mem::take(&mut self.blocks[number].gaps);
        let gap = gaps.remove(place);
        match gaps.is_empty() {
            true => drop(self.blocks.remove(number)),
            false => self.blocks[number] = Block::new(gaps),
        }
        Some(gap)
    }

    /// Inserts what an interval leaves of a gap.
    fn insert_around(&mut self, gap: Gap, interval: Interval) {
        let end = interval.first;
        let start = interval.last + 1;
        for rest in [Gap { end, ..gap }, Gap { start, ..gap }] {
            if rest.start < rest.end {
                self.insert(rest);
            }
        }
    }

    fn insert(&mut self, gap: Gap) {
        let starts_before = |block: &Block| block.gaps[0].order() < gap.order();
        let number = self.blocks.partition_point(starts_before);
        let number = number.saturating_sub(1);
        let Some(block) = self.blocks.get_mut(number) else {
            self.blocks.push(Block::new(vec![gap]));
            return;
        };
        let is_before = |other: &Gap| other.order() < gap.order();
        let place = block.gaps.partition_point(is_before);
        block.gaps.insert(place, gap);
        block.start = block.start.min(gap.start);
        block.end = block.end.max(gap.end);
        if block.gaps.len() == 2 * BLOCK {
            let first = block.gaps.drain(..BLOCK).collect();
            let second = std::mem::replace(block, Block::new(first));
            self.blocks.insert(number + 1, Block::new(second.gaps));
        }
    }
}

/// How many slots are in use at each step: a binary tree over the steps, in which a node has the
/// largest number below it.
struct UsedSlots {
    /// Number of steps, rounded up to a power of two.
    steps: usize,
    /// Slots in use at all steps of a node that its children do not count; the children of
    /// node n are 2n and 2n + 1.
    whole: Vec<usize>,
    /// The largest number of slots in use at a step of a node, those of its parents excluded.
    most: Vec<usize>,
}

impl UsedSlots {
    fn new(steps: usize) -> UsedSlots {
        let steps = steps.next_power_of_two();
        UsedSlots {
            steps,
            whole: vec![0; 2 * steps],
            most: vec![0; 2 * steps],
        }
    }

    /// The largest number of slots in use at a step of an interval.
    fn most(&self, interval: Interval) -> usize {
        self.most_below(1, 0..self.steps, interval)
    }

    fn most_below(&self, node: usize, steps: Range<usize>, interval: Interval) -> usize {
        if interval.last < steps.start || steps.end <= interval.first {
            return 0;
        }
        if interval.first <= steps.start && steps.end <= interval.last + 1 {
            return self.most[node];
        }
        let [left, right] = halves(node, steps);
        let below = [left, right].map(|(node, steps)| self.most_below(node, steps, interval));
        self.whole[node] + below[0].max(below[1])
    }

    /// Counts one more slot at the steps of an interval.
    fn add(&mut self, interval: Interval) {
        self.add_below(1, 0..self.steps, interval);
    }

    fn add_below(&mut self, node: usize, steps: Range<usize>, interval: Interval) {
        if interval.last < steps.start || steps.end <= interval.first {
            return;
        }
        if interval.first <= steps.start && steps.end <= interval.last + 1 {
            self.whole[node] += 1;
            self.most[node] += 1;
            return;
        }
        for (node, steps) in halves(node, steps) {
            self.add_below(node, steps, interval);
        }
        self.most[node] = self.whole[node] + self.most[2 * node].max(self.most[2 * node + 1]);
    }
}

/// The children of a node, with their steps.
fn halves(node: usize, steps: Range<usize>) -> [(usize, Range<usize>); 2] {
    let middle = steps.start.midpoint(steps.end);
    [
        (2 * node, steps.start..middle),
        (2 * node + 1, middle..steps.end),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_span_all_uses_of_temporary_buffers() {
        let bytes = [Some(8), None, Some(4), Some(2)];
        let found = intervals(&bytes, [vec![0, 1], vec![2], vec![1, 0]]);
        let interval = |bytes, first, last| Some(Interval { bytes, first, last });
        assert_eq!(found, [interval(8, 0, 2), None, interval(4, 1, 1), None]);
        let plan = Plan::of(&found);
        assert_eq!(plan.slots, [8, 4]);
        assert_eq!(plan.slot_of, [Some(0), None, Some(1), None]);
    }

    /// The rule of the module's documentation, asking every slot.
    fn plainly(intervals: &[Option<Interval>]) -> Vec<Option<usize>> {
        let mut order: Vec<(usize, Interval)> = (0..)
            .zip(intervals)
            .filter_map(|(buffer, interval)| Some((buffer, (*interval)?)))
            .collect();
        order.sort_by_key(|(buffer, i)| (Reverse(i.bytes), i.first, *buffer));
        let mut slots: Vec<(u64, Vec<Interval>)> = Vec::new();
        let mut slot_of = vec![None; intervals.len()];
        for (buffer, interval) in order {
            let gap = |taken: &[Interval]| {
                let apart = |i: &Interval| i.last < interval.first || interval.last < i.first;
                let before = taken
                    .iter()
                    .map(|i| i.last)
                    .filter(|last| *last < interval.first);
                taken.iter().all(apart).then(|| match before.max() {
                    Some(last) => interval.first - last,
                    None => usize::MAX,
                })
            };
            let free = slots.iter().enumerate();
            let free = free.filter_map(|(slot, (bytes, taken))| Some((bytes, gap(taken)?, slot)));
            let slot = free.min().map_or(slots.len(), |(.., slot)| slot);
            if slot == slots.len() {
                slots.push((interval.bytes, Vec::new()));
            }
            slots[slot].1.push(interval);
            slot_of[buffer] = Some(slot);
        }
        slot_of
    }

    #[test]
    fn plans_follow_the_rule() {
        let mut state = 1u32;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        for case in 0..210 {
            // Of the last cases, the gaps fill several blocks.
            let [steps, buffers] = if case < 200 { [60, 80] } else { [900, 1200] };
            let steps = 1 + draw(steps);
            let buffers = (0..draw(buffers)).map(|_| {
                let first = draw(steps);
                let bytes = 4 * (1 + draw(1 + case % 9)) as u64;
                let last = (first + draw(steps)).min(steps - 1);
                (draw(9) > 0).then_some(Interval { bytes, first, last })
            });
            let intervals: Vec<Option<Interval>> = buffers.collect();
            assert_eq!(Plan::of(&intervals).slot_of, plainly(&intervals), "{case}");
        }
    }

    /// A network of many equal layers: each keeps a buffer until its backward pass, which needs
    /// another one for a short time. Asking every slot takes minutes.
    #[test]
    fn deep_networks_are_planned_in_seconds() {
        let layers = 100_000;
        let interval = |first, last| {
            Some(Interval {
                bytes: 8,
                first,
                last,
            })
        };
        let of_layer = |i| {
            [
                interval(i, 2 * layers - i),
                interval(2 * layers - i, 2 * layers - i + 3),
            ]
        };
        let intervals: Vec<_> = (0..layers).flat_map(of_layer).collect();
        let start = std::time::Instant::now();
        let plan = Plan::of(&intervals);
        assert_eq!(plan.slots.len(), layers + 1);
        assert!(start.elapsed() < std::time::Duration::from_secs(20));
    }
}
