//! Memory while a kernel runs: its bounds, and what each access means.

use crate::code::{Address, Lanes, Limit, Line, MemoryId, Slot, Space};
use crate::execute::{Active, Ended, Group, Machine};
use crate::report::Fault;
use crate::shadow::{Access, Agent, Cell, Clock, Conflict, HOST, Other, SOME};

/// Words of a buffer, and what happened to them.
pub(crate) struct Buffer {
    pub(crate) words: Vec<u32>,
    pub(crate) cells: Vec<Cell>,
}

/// What words hold that nobody has written: a NaN, and a large number.
pub(crate) const POISON: u32 = 0x7fc0_dead;

impl Buffer {
    /// A buffer that nobody has written.
    pub(crate) fn fresh(words: usize) -> Buffer {
        Buffer {
            words: vec![POISON; words],
            cells: vec![Cell::FRESH; words],
        }
    }

    /// Writes words from the host.
    pub(crate) fn write(&mut self, at: usize, words: &[u32]) {
        self.words[at..at + words.len()].copy_from_slice(words);
        self.cells[at..at + words.len()].fill(Cell::WRITTEN);
    }
}

/// A range of a buffer, in words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) buffer: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

/// Words of a variable in workgroup memory, and what happened to them.
pub(crate) struct Shared {
    pub(crate) words: Vec<u32>,
    pub(crate) cells: Vec<Cell>,
}

/// A variable during an access.
struct View<'a> {
    words: &'a mut [u32],
    cells: &'a mut [Cell],
    clock: Clock,
    /// The first epoch in which a write counts as one.
    least: u32,
    /// Whether the dispatch only reads it, so that nothing can conflict.
    is_constant: bool,
    /// What is wrong with the accesses so far.
    oddities: Vec<Oddity>,
}

struct Oddity {
    cell: u32,
    agent: Agent,
    kind: OddityKind,
}

enum OddityKind {
    /// With the number of cells.
    PastEnd(usize),
    Uninitialised,
    Conflict(Conflict),
}

impl View<'_> {
    /// Records an access of a cell; `None` if it is past the end.
    fn touch(&mut self, cell: u32, agent: Agent, access: Access) -> Option<&mut u32> {
        let mut note = |kind| self.oddities.push(Oddity { cell, agent, kind });
        let at = cell as usize;
        let Some(history) = self.cells.get_mut(at) else {
            note(OddityKind::PastEnd(self.words.len()));
            return None;
        };
        if access.reads() && !history.is_written_since(self.least) {
            note(OddityKind::Uninitialised);
        }
        if self.is_constant {
            return Some(&mut self.words[at]);
        }
        if let Some(conflict) = history.touch(self.clock, agent, access) {
            note(OddityKind::Conflict(conflict));
        }
        Some(&mut self.words[at])
    }
}

/// The cell that an address is for an invocation.
pub(crate) fn cell_of(registers: &[Lanes], address: Address, lane: Agent) -> u32 {
    let word = |slot: Slot| registers[slot as usize][lane as usize];
    address.fixed + address.dynamic.map_or(0, word)
}

/// An invocation in a message.
fn named(agent: Agent) -> String {
    match agent {
        SOME => "some invocation".to_owned(),
        agent => format!("invocation {agent}"),
    }
}

impl Group<'_> {
    pub(crate) fn count(&self, limit: Limit) -> u32 {
        match limit {
            Limit::Fixed(count) => count,
            Limit::Runtime {
                memory,
                start,
                stride,
            } => {
                let cells = match self.code.memories[memory].space {
                    Space::Storage(number) => self.binding(number).count,
                    _ => panic!("only storage has arrays of any size"),
                };
                (cells as u32).saturating_sub(start) / stride
            }
        }
    }

    fn binding(&self, number: u32) -> Range {
        self.launch.bindings[number as usize - 1]
    }

    /// The registers, and a variable in workgroup memory or a storage buffer.
    fn view(&mut self, memory: MemoryId) -> (&mut [Lanes], View<'_>) {
        let (words, cells, clock, least) = match self.code.memories[memory].space {
            Space::Uniform => panic!("nothing but loads access the parameters"),
            Space::Workgroup => {
                let Shared { words, cells } = &mut self.shared[memory];
                (
                    &mut words[..],
                    &mut cells[..],
                    self.clock,
                    self.clock.workgroup,
                )
            }
            Space::Storage(number) => {
                let Range {
                    buffer,
                    first,
                    count,
                } = self.launch.bindings[number as usize - 1];
                let Machine { buffers, clock, .. } = &mut *self.machine;
                let Buffer { words, cells } = &mut buffers[buffer];
                let range = first..first + count;
                (&mut words[range.clone()], &mut cells[range], *clock, HOST)
            }
        };
        let view = View {
            words,
            cells,
            clock,
            least,
            is_constant: self.constants[memory],
            oddities: Vec::new(),
        };
        (&mut self.registers, view)
    }

    /// Loads cells at distances from an address.
    pub(crate) fn load(
        &mut self,
        address: Address,
        cells: &[(u32, Slot)],
        access: Access,
        line: Line,
        active: &Active,
    ) -> Result<(), Ended> {
        if self.code.memories[address.memory].space == Space::Uniform {
            return self.load_parameters(address, cells, line, active);
        }
        let (registers, mut view) = self.view(address.memory);
        for lane in active {
            let start = cell_of(registers, address, *lane);
            for (distance, slot) in cells {
                let word = view.touch(start.saturating_add(*distance), *lane, access);
                registers[*slot as usize][*lane as usize] = word.map_or(0, |word| *word);
            }
        }
        let oddities = view.oddities;
        self.explain(address.memory, oddities, access, line)
    }

    fn load_parameters(
        &mut self,
        address: Address,
        cells: &[(u32, Slot)],
        line: Line,
        active: &Active,
    ) -> Result<(), Ended> {
        let uniforms = self.launch.uniforms;
        let mut missing = None;
        for (distance, slot) in cells {
            let mut word = |cell: u32| match uniforms.get(cell as usize) {
                Some(word) => *word,
                None => {
                    missing = Some(cell);
                    0
                }
            };
            if address.dynamic.is_none() {
                self.registers[*slot as usize].fill(word(address.fixed + distance));
                continue;
            }
            for lane in active {
                let start = cell_of(&self.registers, address, *lane);
                let word = word(start.saturating_add(*distance));
                self.registers[*slot as usize][*lane as usize] = word;
            }
        }
        if let Some(cell) = missing {
            let code = self.code;
            let name = &code.memories[address.memory].name;
            let example = || format!("word {cell} of {}", uniforms.len());
            self.fault(Fault::OutOfRange, name, Some(line), example)?;
        }
        Ok(())
    }

    /// Stores cells at distances from an address.
    pub(crate) fn store(
        &mut self,
        address: Address,
        cells: &[(u32, Slot)],
        access: Access,
        line: Line,
        active: &Active,
    ) -> Result<(), Ended> {
        let (registers, mut view) = self.view(address.memory);
        for lane in active {
            let start = cell_of(registers, address, *lane);
            for (distance, slot) in cells {
                let value = registers[*slot as usize][*lane as usize];
                if let Some(word) = view.touch(start.saturating_add(*distance), *lane, access) {
                    *word = value;
                }
            }
        }
        let oddities = view.oddities;
        self.explain(address.memory, oddities, access, line)
    }

    /// Accesses a cell; returns its word, and writes the one that `update` makes of it. 0 stands
    /// for a word past the end.
    pub(crate) fn touch(
        &mut self,
        (memory, cell): (MemoryId, u32),
        agent: Agent,
        access: Access,
        line: Line,
        update: impl FnOnce(u32) -> u32,
    ) -> Result<u32, Ended> {
        let (_, mut view) = self.view(memory);
        let old = view.touch(cell, agent, access).map_or(0, |word| {
            let old = *word;
            *word = update(old);
            old
        });
        let oddities = view.oddities;
        self.explain(memory, oddities, access, line)?;
        Ok(old)
    }

    /// Reports what accesses have found.
    fn explain(
        &mut self,
        memory: MemoryId,
        oddities: Vec<Oddity>,
        access: Access,
        line: Line,
    ) -> Result<(), Ended> {
        let code = self.code;
        let name = &code.memories[memory].name;
        for Oddity { cell, agent, kind } in oddities {
            let by = named(agent);
            match kind {
                OddityKind::PastEnd(count) => {
                    let example = || format!("word {cell} of {count}, {by}");
                    self.fault(Fault::OutOfRange, name, Some(line), example)?;
                }
                OddityKind::Uninitialised => {
                    let example = || format!("word {cell}, {by}");
                    self.fault(Fault::Uninitialised, name, Some(line), example)?;
                }
                OddityKind::Conflict(conflict) => {
                    self.conflict(conflict, (name, cell), agent, access, line)?;
                }
            }
        }
        Ok(())
    }

    fn conflict(
        &mut self,
        conflict: Conflict,
        (name, cell): (&str, u32),
        agent: Agent,
        access: Access,
        line: Line,
    ) -> Result<(), Ended> {
        let fault = match (conflict.by, conflict.atomic) {
            (_, true) => Fault::OrderOfAtomics,
            (Other::Workgroup, false) => Fault::RaceBetweenWorkgroups,
            (Other::Invocation(_), false) => Fault::Race,
        };
        let example = || {
            let other = match conflict.by {
                Other::Workgroup => "another workgroup".to_owned(),
                Other::Invocation(agent) => named(agent),
            };
            let (earlier, agent) = (conflict.earlier, named(agent));
            format!("word {cell}: {access} by {agent}, unordered with a {earlier} by {other}")
        };
        self.fault(fault, name, Some(line), example)
    }

    pub(crate) fn fault(
        &mut self,
        fault: Fault,
        variable: &str,
        line: Option<Line>,
        example: impl FnOnce() -> String,
    ) -> Result<(), Ended> {
        let (code, id) = (self.code, self.id);
        let line = line.map_or("", |line| &code.lines[line as usize]);
        let example = || format!("{}, workgroup {id:?}", example());
        let report = &mut self.machine.report;
        report.add(fault, &code.name, variable, line, example);
        match self.machine.ends_at_first {
            true => Err(Ended),
            false => Ok(()),
        }
    }
}
