//! Runs a kernel: all invocations of a workgroup together, one workgroup after another.
//!
//! The invocations advance in step, which hides nothing: an access is judged by the epochs of
//! `shadow.rs`, not by when the interpreter makes it. Where control flow diverges, one side runs
//! after the other, on the invocations that take it.

use naga::BuiltIn;

use crate::code::{Code, Frame, Lanes, Limit, Line, Memory, Op, Slot, Space, Step};
use crate::memory::{Buffer, POISON, Range, Shared, cell_of};
use crate::report::{Fault, Report};
use crate::shadow::{Access, Agent, Cell, Clock};

/// A dispatch: the words of the uniform, the storage bindings from binding 1 on, and the grid.
pub(crate) struct Launch<'a> {
    pub(crate) uniforms: &'a [u32],
    pub(crate) bindings: &'a [Range],
    pub(crate) grid: [u32; 3],
}

/// The run was ended early: the report says why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

/// State that lasts over dispatches.
pub(crate) struct Machine {
    pub(crate) report: Report,
    pub(crate) buffers: Vec<Buffer>,
    /// Instructions so far.
    pub(crate) steps: u64,
    /// Instructions after which a run counts as endless.
    pub(crate) most_steps: u64,
    /// Whether the first fault ends the run.
    pub(crate) ends_at_first: bool,
    /// Time of storage memory.
    pub(crate) clock: Clock,
}

impl Machine {
    pub(crate) fn new(buffers: Vec<Buffer>) -> Machine {
        Machine {
            report: Report::default(),
            buffers,
            steps: 0,
            most_steps: u64::MAX,
            ends_at_first: false,
            clock: Clock::new(),
        }
    }

    /// Runs one dispatch.
    ///
    /// # Errors
    /// If a fault ends the run.
    pub(crate) fn dispatch(&mut self, code: &Code, launch: &Launch<'_>) -> Result<(), Ended> {
        self.clock.begin_dispatch();
        let mut group = Group::new(self, code, launch);
        let [width, height, depth] = launch.grid;
        for z in 0..depth {
            for y in 0..height {
                for x in 0..width {
                    group.run([x, y, z])?;
                }
            }
        }
        Ok(())
    }
}

/// A workgroup that runs.
pub(crate) struct Group<'a> {
    pub(crate) machine: &'a mut Machine,
    pub(crate) code: &'a Code,
    pub(crate) launch: &'a Launch<'a>,
    /// Number of invocations.
    pub(crate) size: usize,
    pub(crate) registers: Vec<Lanes>,
    /// The frame whose end an invocation waits for; 0 if it is active.
    exits: Vec<Frame>,
    pub(crate) shared: Vec<Shared>,
    /// Which variables are storage buffers that the dispatch only reads.
    pub(crate) constants: Vec<bool>,
    /// Time of workgroup memory.
    pub(crate) clock: Clock,
    pub(crate) id: [u32; 3],
}

/// Indices of active invocations, in increasing order.
pub(crate) type Active = Vec<Agent>;

impl<'a> Group<'a> {
    fn new(machine: &'a mut Machine, code: &'a Code, launch: &'a Launch<'a>) -> Group<'a> {
        let size = code.workgroup.iter().product::<u32>() as usize;
        let mut registers = vec![vec![0; size].into_boxed_slice(); code.slots];
        for (slot, word) in &code.constants {
            registers[*slot as usize].fill(*word);
        }
        let shared = code.memories.iter().map(|memory| Shared {
            words: vec![POISON; memory.cells],
            cells: vec![Cell::FRESH; memory.cells],
        });
        let buffer = |memory: &Memory| match memory.space {
            Space::Storage(number) => Some(launch.bindings[number as usize - 1].buffer),
            _ => None,
        };
        let written = code.memories.iter().filter(|memory| memory.writable);
        let written: Vec<usize> = written.filter_map(buffer).collect();
        let constants = code
            .memories
            .iter()
            .map(|memory| buffer(memory).is_some_and(|buffer| !written.contains(&buffer)));
        Group {
            constants: constants.collect(),
            machine,
            code,
            launch,
            size,
            registers,
            exits: vec![0; size],
            shared: shared.collect(),
            clock: Clock::new(),
            id: [0; 3],
        }
    }

    fn run(&mut self, id: [u32; 3]) -> Result<(), Ended> {
        self.id = id;
        self.machine.clock.begin_workgroup();
        // Workgroup memory begins anew, as storage memory does with a dispatch.
        self.clock.begin_dispatch();
        for shared in &mut self.shared {
            shared.words.fill(POISON);
        }
        let code = self.code;
        for (builtin, slots) in &code.builtins {
            for (axis, slot) in slots.iter().enumerate() {
                for lane in 0..self.size {
                    self.registers[*slot as usize][lane] = self.builtin(*builtin, axis, lane);
                }
            }
        }
        let mut active: Active = (0..self.size as Agent).collect();
        self.block(&code.body, &mut active)
    }

    fn builtin(&self, builtin: BuiltIn, axis: usize, lane: usize) -> u32 {
        let [width, height, _] = self.code.workgroup;
        let lane = lane as u32;
        let local = [lane % width, lane / width % height, lane / (width * height)];
        match builtin {
            BuiltIn::WorkGroupId => self.id[axis],
            BuiltIn::NumWorkGroups => self.launch.grid[axis],
            BuiltIn::LocalInvocationIndex => lane,
            BuiltIn::LocalInvocationId => local[axis],
            BuiltIn::GlobalInvocationId => self.id[axis] * self.code.workgroup[axis] + local[axis],
            BuiltIn::SubgroupId => lane / self.code.subgroup,
            BuiltIn::SubgroupInvocationId => lane % self.code.subgroup,
            BuiltIn::SubgroupSize => self.code.subgroup,
            BuiltIn::NumSubgroups => (self.size as u32).div_ceil(self.code.subgroup),
            other => panic!("no kernel has {other:?}"),
        }
    }

    /// The invocations of `entered` that are active again once a frame has ended.
    fn resume(&mut self, entered: &[Agent], active: &mut Active, frame: Frame) {
        active.clear();
        for lane in entered {
            let exit = &mut self.exits[*lane as usize];
            if *exit == frame {
                *exit = 0;
            }
            if *exit == 0 {
                active.push(*lane);
            }
        }
    }

    /// The active invocations by whether a register is not zero.
    fn divide(&self, active: &[Agent], condition: Slot) -> [Active; 2] {
        let condition = &self.registers[condition as usize];
        let (yes, no) = active
            .iter()
            .partition(|lane| condition[**lane as usize] != 0);
        [yes, no]
    }

    /// Runs a block; removes the invocations from `active` that leave it early.
    fn block(&mut self, steps: &'a [Step], active: &mut Active) -> Result<(), Ended> {
        for step in steps {
            if active.is_empty() {
                break;
            }
            match step {
                Step::Op(op) => self.op(op, active)?,
                Step::Exit(frame) => {
                    for lane in active.drain(..) {
                        self.exits[lane as usize] = *frame;
                    }
                }
                Step::Scope { body, end } => {
                    let entered = active.clone();
                    self.block(body, active)?;
                    self.resume(&entered, active, *end);
                }
                Step::If {
                    condition,
                    accept,
                    reject,
                } => {
                    let [mut accepted, mut rejected] = self.divide(active, *condition);
                    self.block(accept, &mut accepted)?;
                    self.block(reject, &mut rejected)?;
                    if accepted.len() + rejected.len() < active.len() {
                        active.retain(|lane| self.exits[*lane as usize] == 0);
                    }
                }
                Step::Switch {
                    selector,
                    arms,
                    default,
                    end,
                } => {
                    let entered = active.clone();
                    let selector = &self.registers[*selector as usize];
                    let arm_of = |lane: &Agent| {
                        let value = selector[*lane as usize];
                        let arm = arms.iter().position(|(values, _)| values.contains(&value));
                        arm.unwrap_or(*default)
                    };
                    let chosen: Vec<usize> = active.iter().map(arm_of).collect();
                    for (number, (_, body)) in arms.iter().enumerate() {
                        let lanes = entered.iter().zip(&chosen);
                        let lanes = lanes.filter(|(_, arm)| **arm == number);
                        let mut lanes: Active = lanes.map(|(lane, _)| *lane).collect();
                        self.block(body, &mut lanes)?;
                    }
                    self.resume(&entered, active, *end);
                }
                Step::Loop {
                    body,
                    continuing,
                    break_if,
                    next,
                    end,
                } => {
                    let entered = active.clone();
                    while !active.is_empty() {
                        let iterating = active.clone();
                        self.block(body, active)?;
                        self.resume(&iterating, active, *next);
                        self.block(continuing, active)?;
                        if let Some(condition) = break_if {
                            let [breaking, staying] = self.divide(active, *condition);
                            for lane in breaking {
                                self.exits[lane as usize] = *end;
                            }
                            *active = staying;
                        }
                        self.machine.steps += 1;
                        if self.machine.steps > self.machine.most_steps {
                            self.fault(Fault::Endless, "", None, String::new)?;
                            return Err(Ended);
                        }
                    }
                    self.resume(&entered, active, *end);
                }
            }
        }
        Ok(())
    }

    /// Computes a register from others.
    fn compute(&mut self, result: Slot, map: impl FnOnce(&mut [u32], &[Lanes])) {
        let mut out = std::mem::take(&mut self.registers[result as usize]);
        map(&mut out, &self.registers);
        self.registers[result as usize] = out;
    }

    fn op(&mut self, op: &'a Op, active: &Active) -> Result<(), Ended> {
        self.machine.steps += 1;
        match op {
            Op::Map1(map, result, a) => {
                self.compute(*result, |out, r| map(out, &r[*a as usize]));
            }
            Op::Map2(map, result, [a, b]) => {
                self.compute(*result, |out, r| map(out, &r[*a as usize], &r[*b as usize]));
            }
            Op::Map3(map, result, [a, b, c]) => {
                self.compute(*result, |out, r| {
                    map(out, &r[*a as usize], &r[*b as usize], &r[*c as usize]);
                });
            }
            Op::Shift64 {
                left,
                result,
                value: [low, high],
                bits,
            } => {
                for lane in 0..self.size {
                    let word = |slot: Slot| u64::from(self.registers[slot as usize][lane]);
                    let value = word(*low) | word(*high) << 32;
                    let bits = word(*bits) as u32;
                    let shifted = match left {
                        true => value.wrapping_shl(bits),
                        false => value.wrapping_shr(bits),
                    };
                    self.registers[result[0] as usize][lane] = shifted as u32;
                    self.registers[result[1] as usize][lane] = (shifted >> 32) as u32;
                }
            }
            Op::Assign(to, from) => {
                let whole = active.len() == self.size;
                self.compute(*to, |out, r| {
                    let from = &r[*from as usize];
                    if whole {
                        out.copy_from_slice(from);
                    } else {
                        for lane in active {
                            out[*lane as usize] = from[*lane as usize];
                        }
                    }
                });
            }
            Op::Index {
                result,
                index,
                base,
                stride,
                limit,
                of,
                line,
            } => self.index(*result, *index, *base, *stride, *limit, (of, *line), active)?,
            Op::Pick {
                result,
                list,
                index,
            } => {
                for lane in active.iter().map(|lane| *lane as usize) {
                    let slot = list[self.registers[*index as usize][lane] as usize];
                    self.registers[*result as usize][lane] = self.registers[slot as usize][lane];
                }
            }
            Op::LoadLocal {
                result,
                base,
                offset,
            } => {
                for lane in active.iter().map(|lane| *lane as usize) {
                    let slot = base + self.registers[*offset as usize][lane];
                    self.registers[*result as usize][lane] = self.registers[slot as usize][lane];
                }
            }
            Op::StoreLocal {
                base,
                offset,
                value,
            } => {
                for lane in active.iter().map(|lane| *lane as usize) {
                    let slot = base + self.registers[*offset as usize][lane];
                    self.registers[slot as usize][lane] = self.registers[*value as usize][lane];
                }
            }
            Op::Load {
                address,
                cells,
                atomic,
                line,
            } => {
                let access = if *atomic {
                    Access::AtomicLoad
                } else {
                    Access::Read
                };
                self.load(*address, cells, access, *line, active)?;
            }
            Op::Store {
                address,
                cells,
                atomic,
                line,
            } => {
                let access = if *atomic {
                    Access::AtomicStore
                } else {
                    Access::Write
                };
                self.store(*address, cells, access, *line, active)?;
            }
            Op::Beside {
                address,
                cells,
                write,
                line,
            } => {
                let access = match write {
                    true => Access::WriteBeside,
                    false => Access::ReadBeside,
                };
                for lane in active {
                    let start = cell_of(&self.registers, *address, *lane);
                    for distance in cells {
                        let cell = (address.memory, start.saturating_add(*distance));
                        self.touch(cell, *lane, access, *line, |word| word)?;
                    }
                }
            }
            Op::ArrayLength { result, limit } => {
                let count = self.count(*limit);
                self.registers[*result as usize].fill(count);
            }
            Op::Barrier {
                workgroup,
                storage,
                line,
            } => {
                if active.len() < self.size {
                    let reached = active.len();
                    let example = || format!("{reached} invocations reach it");
                    self.fault(Fault::DivergentBarrier, "", Some(*line), example)?;
                }
                if *workgroup {
                    self.clock.tick();
                }
                if *storage {
                    self.machine.clock.tick();
                }
            }
            other => self.exchange(other, active)?,
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of the instruction")]
    fn index(
        &mut self,
        result: Slot,
        index: Slot,
        base: Option<Slot>,
        stride: u32,
        limit: Limit,
        (of, line): (&str, Line),
        active: &Active,
    ) -> Result<(), Ended> {
        let count = self.count(limit);
        for lane in active {
            let at = *lane as usize;
            let index = self.registers[index as usize][at];
            if index >= count {
                let example = || format!("index {index} of {count}, invocation {lane}");
                self.fault(Fault::OutOfRange, of, Some(line), example)?;
            }
            let start = base.map_or(0, |base| self.registers[base as usize][at]);
            let clamped = index.min(count.saturating_sub(1));
            self.registers[result as usize][at] = start + clamped * stride;
        }
        Ok(())
    }
}
