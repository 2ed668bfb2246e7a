//! Runs instructions by which invocations exchange values: atomics, subgroup operations and
//! matrices.

use naga::{AtomicFunction, CollectiveOperation, ScalarKind, SubgroupOperation};

use crate::code::{Address, Line, Op, Shuffle, Slot};
use crate::execute::{Active, Ended, Group};
use crate::memory::cell_of;
use crate::report::Fault;
use crate::shadow::{Access, SOME};

impl<'a> Group<'a> {
    pub(crate) fn exchange(&mut self, op: &'a Op, active: &Active) -> Result<(), Ended> {
        match op {
            Op::Atomic {
                address,
                function,
                signed,
                value,
                compare,
                result,
                line,
            } => {
                let commutes = !matches!(function, AtomicFunction::Exchange { .. });
                let access = match result.is_none() && commutes {
                    true => Access::Accumulate(*function),
                    false => Access::Exchange,
                };
                for lane in active {
                    let at = *lane as usize;
                    let cell = (address.memory, cell_of(&self.registers, *address, *lane));
                    let of = |slot: &Slot| self.registers[*slot as usize][at];
                    let (value, compare) = (of(value), compare.as_ref().map(of));
                    let update = |old| updated(*function, *signed, old, value, compare);
                    let old = self.touch(cell, *lane, access, *line, update)?;
                    if let Some([previous, exchanged]) = result {
                        self.registers[*previous as usize][at] = old;
                        self.registers[*exchanged as usize][at] = u32::from(compare == Some(old));
                    }
                }
            }
            Op::Shuffle {
                mode,
                results,
                values,
                line,
            } => {
                for subgroup in self.subgroups(active, *line)? {
                    self.shuffle(subgroup, *mode, (results, values), *line)?;
                }
            }
            Op::Collective {
                operation,
                scan,
                kind,
                results,
                values,
                line,
            } => {
                for [first, end] in self.subgroups(active, *line)? {
                    for (result, value) in results.iter().zip(values) {
                        let words = self.registers[*value as usize][first..end].to_vec();
                        let combined = combined(*operation, *scan, *kind, &words);
                        self.registers[*result as usize][first..end].copy_from_slice(&combined);
                    }
                }
            }
            Op::MatrixLoad {
                extent,
                results,
                address,
                stride,
                row_major,
                line,
            } => {
                for [first, end] in self.subgroups(active, *line)? {
                    let cells = (*extent, *row_major, *address, *stride);
                    let cells = self.matrix_cells([first, end], cells, *line)?;
                    for (element, cell) in cells.into_iter().enumerate() {
                        let cell = (address.memory, cell);
                        let word = self.touch(cell, SOME, Access::Read, *line, |word| word)?;
                        *self.element(results, [first, end], element) = word;
                    }
                }
            }
            Op::MatrixStore {
                extent,
                values,
                address,
                stride,
                row_major,
                line,
            } => {
                for [first, end] in self.subgroups(active, *line)? {
                    let cells = (*extent, *row_major, *address, *stride);
                    let cells = self.matrix_cells([first, end], cells, *line)?;
                    for (element, cell) in cells.into_iter().enumerate() {
                        let value = *self.element(values, [first, end], element);
                        let cell = (address.memory, cell);
                        self.touch(cell, SOME, Access::Write, *line, |_| value)?;
                    }
                }
            }
            Op::MatrixMultiplyAdd {
                extent,
                results,
                operands,
                line,
            } => {
                for subgroup in self.subgroups(active, *line)? {
                    let count = *extent as usize;
                    let [a, b, mut sum] = operands.each_ref().map(|slots| {
                        let elements = 0..count * count;
                        let words = elements.map(|at| *self.element(slots, subgroup, at));
                        words.map(f32::from_bits).collect::<Vec<f32>>()
                    });
                    for (row, sums) in sum.chunks_mut(count).enumerate() {
                        for (step, columns) in b.chunks(count).enumerate() {
                            let left = a[row * count + step];
                            for (sum, right) in sums.iter_mut().zip(columns) {
                                *sum += left * right;
                            }
                        }
                    }
                    for (element, value) in sum.into_iter().enumerate() {
                        *self.element(results, subgroup, element) = value.to_bits();
                    }
                }
            }
            other => panic!("{other:?} exchanges nothing"),
        }
        Ok(())
    }

    /// The subgroups with active invocations: the first one, and the end. Reports those of which
    /// only a part is active.
    fn subgroups(&mut self, active: &Active, line: Line) -> Result<Vec<[usize; 2]>, Ended> {
        let mut found = Vec::new();
        for first in (0..self.size).step_by(self.code.subgroup as usize) {
            let end = (first + self.code.subgroup as usize).min(self.size);
            let range = first..end;
            let reached = active
                .iter()
                .filter(|lane| range.contains(&(**lane as usize)));
            let (reached, size) = (reached.count(), range.len());
            if reached > 0 && reached < size {
                let example = || format!("{reached} of {size} invocations reach it");
                self.fault(Fault::DivergentSubgroup, "", Some(line), example)?;
            }
            if reached > 0 {
                found.push([first, end]);
            }
        }
        Ok(found)
    }

    fn shuffle(
        &mut self,
        [first, end]: [usize; 2],
        mode: Shuffle,
        (results, values): (&[Slot], &[Slot]),
        line: Line,
    ) -> Result<(), Ended> {
        let of = |slot: Slot, lane: usize| self.registers[slot as usize][lane] as usize;
        let source = |lane: usize| {
            let own = lane - first;
            match mode {
                Shuffle::First => Some(0),
                Shuffle::Index(index) => Some(of(index, lane)),
                Shuffle::Up(by) => own.checked_sub(of(by, lane)),
                Shuffle::Down(by) => Some(own + of(by, lane)),
                Shuffle::Xor(by) => Some(own ^ of(by, lane)),
            }
        };
        let mut sources: Vec<usize> = Vec::new();
        let mut missing = None;
        for lane in first..end {
            let found = source(lane)
                .map(|from| first + from)
                .filter(|from| *from < end);
            missing = missing.or(found.is_none().then_some(lane));
            sources.push(found.unwrap_or(lane));
        }
        if let Some(lane) = missing {
            let example = || format!("invocation {lane}");
            self.fault(Fault::NoSuchInvocation, "", Some(line), example)?;
        }
        for (result, value) in results.iter().zip(values) {
            let from = &self.registers[*value as usize];
            let words: Vec<u32> = sources.iter().map(|lane| from[*lane]).collect();
            self.registers[*result as usize][first..end].copy_from_slice(&words);
        }
        Ok(())
    }

    /// The cells of a matrix's elements, row after row. Its place must be the same for the whole
    /// subgroup.
    fn matrix_cells(
        &mut self,
        [first, end]: [usize; 2],
        (extent, row_major, address, stride): (u32, bool, Address, Slot),
        line: Line,
    ) -> Result<Vec<u32>, Ended> {
        let place = |lane: usize| {
            let stride = self.registers[stride as usize][lane];
            (cell_of(&self.registers, address, lane as u16), stride)
        };
        let (start, stride) = place(first);
        if (first..end).any(|lane| place(lane) != (start, stride)) {
            let example = || "invocations give different places".to_owned();
            self.fault(Fault::DivergentSubgroup, "", Some(line), example)?;
        }
        let elements = (0..extent).flat_map(|row| (0..extent).map(move |column| (row, column)));
        let cells = elements.map(|(row, column)| match row_major {
            true => start + row * stride + column,
            false => start + column * stride + row,
        });
        Ok(cells.collect())
    }

    /// An element of a matrix that is distributed over a subgroup.
    fn element(&mut self, slots: &[Slot], [first, end]: [usize; 2], number: usize) -> &mut u32 {
        let size = end - first;
        &mut self.registers[slots[number / size] as usize][first + number % size]
    }
}

/// The new value of an atomic.
fn updated(
    function: AtomicFunction,
    signed: bool,
    old: u32,
    value: u32,
    compare: Option<u32>,
) -> u32 {
    match function {
        AtomicFunction::Add => old.wrapping_add(value),
        AtomicFunction::Subtract => old.wrapping_sub(value),
        AtomicFunction::And => old & value,
        AtomicFunction::InclusiveOr => old | value,
        AtomicFunction::ExclusiveOr => old ^ value,
        AtomicFunction::Min if signed => (old as i32).min(value as i32) as u32,
        AtomicFunction::Max if signed => (old as i32).max(value as i32) as u32,
        AtomicFunction::Min => old.min(value),
        AtomicFunction::Max => old.max(value),
        AtomicFunction::Exchange { .. } => match compare {
            Some(compare) if compare != old => old,
            _ => value,
        },
    }
}

/// What each invocation of a subgroup gets.
fn combined(
    operation: SubgroupOperation,
    scan: CollectiveOperation,
    kind: ScalarKind,
    words: &[u32],
) -> Vec<u32> {
    let add = |a: u32, b: u32| match (operation, kind) {
        (SubgroupOperation::Add, ScalarKind::Float) => {
            (f32::from_bits(a) + f32::from_bits(b)).to_bits()
        }
        (SubgroupOperation::Add, ScalarKind::Uint | ScalarKind::Sint) => a.wrapping_add(b),
        (SubgroupOperation::Any | SubgroupOperation::Or, _) => a | b,
        (SubgroupOperation::All | SubgroupOperation::And, _) => a & b,
        _ => panic!("no kernel has {operation:?} of {kind:?}"),
    };
    assert!(
        scan == CollectiveOperation::Reduce,
        "no kernel has {scan:?}"
    );
    let total = words.iter().copied().reduce(add).unwrap_or_default();
    vec![total; words.len()]
}
