//! What happened to each cell of shared memory, and whether an access is ordered after it.
//!
//! Time is counted in epochs. A barrier that orders an address space begins an epoch of that space,
//! and so does each workgroup. Two accesses of a workgroup are ordered if they are of one
//! invocation or of different epochs; accesses of different workgroups of a dispatch never are;
//! all accesses of a dispatch come after those of the dispatches before it.
//!
//! The last write, accumulation and reads of a cell suffice: a conflict with an earlier access is
//! found when the later of the two happens, whatever order the interpreter takes.

use naga::AtomicFunction;

/// The current epoch, and the first ones of the workgroup and of the dispatch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    pub(crate) dispatch: u32,
    pub(crate) workgroup: u32,
    pub(crate) now: u32,
}

/// The epoch of what the host writes; 0 is before everything.
pub(crate) const HOST: u32 = 1;

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock {
            dispatch: HOST + 1,
            workgroup: HOST + 1,
            now: HOST + 1,
        }
    }

    /// A barrier.
    pub(crate) fn tick(&mut self) {
        self.now += 1;
    }

    pub(crate) fn begin_workgroup(&mut self) {
        self.tick();
        self.workgroup = self.now;
    }

    pub(crate) fn begin_dispatch(&mut self) {
        self.begin_workgroup();
        self.dispatch = self.now;
    }
}

/// Who accesses a cell: the index of an invocation in its workgroup, or [`SOME`].
pub(crate) type Agent = u16;

/// One of several invocations: accesses of matrices, for which it is unspecified which invocation
/// accesses which element, and accesses of several invocations in one epoch.
pub(crate) const SOME: Agent = u16::MAX;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    /// Of another component of the same vector, which WGSL lets access the whole vector.
    ReadBeside,
    WriteBeside,
    AtomicLoad,
    AtomicStore,
    /// A read-modify-write whose old value is not used: those of the same function commute.
    Accumulate(AtomicFunction),
    /// One whose old value is used.
    Exchange,
}

impl Access {
    fn is_atomic(self) -> bool {
        use Access::{AtomicLoad, AtomicStore, Exchange};
        matches!(
            self,
            AtomicLoad | AtomicStore | Access::Accumulate(_) | Exchange
        )
    }

    fn writes(self) -> bool {
        !matches!(self, Access::Read | Access::ReadBeside | Access::AtomicLoad)
    }

    /// Whether it uses what the cell holds.
    pub(crate) fn reads(self) -> bool {
        use Access::{AtomicLoad, Exchange, Read};
        matches!(self, Read | AtomicLoad | Access::Accumulate(_) | Exchange)
    }
}

/// Two unordered accesses, at least one of them a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// What the earlier access was.
    pub(crate) earlier: Access,
    pub(crate) by: Other,
    /// Whether both are atomic: then their order decides the result, without a race.
    pub(crate) atomic: bool,
}

/// Who made the earlier access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Other {
    Invocation(Agent),
    Workgroup,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    epoch: u32,
    agent: Agent,
    access: Access,
}

impl Last {
    const NEVER: Last = Last {
        epoch: 0,
        agent: SOME,
        access: Access::Read,
    };

    /// Whether an access of an agent now is ordered neither after it nor with it.
    fn is_unordered(&self, clock: Clock, agent: Agent) -> bool {
        let elsewhere = self.epoch >= clock.dispatch && self.epoch < clock.workgroup;
        let is_other = self.agent != agent || agent == SOME;
        elsewhere || self.epoch == clock.now && is_other
    }

    /// The conflict of an unordered access with it, unless they commute.
    fn conflict(&self, clock: Clock, access: Access) -> Option<Conflict> {
        let commute = match (self.access, access) {
            (Access::Accumulate(a), Access::Accumulate(b)) => a == b,
            (earlier, later) => !earlier.writes() && !later.writes(),
        };
        let by = match self.epoch < clock.workgroup {
            true => Other::Workgroup,
            false => Other::Invocation(self.agent),
        };
        (!commute).then_some(Conflict {
            earlier: self.access,
            by,
            atomic: self.access.is_atomic() && access.is_atomic(),
        })
    }
}

/// The history of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// The last epoch in which it was given a value.
    written: u32,
    /// The last write that commutes with nothing, and the last other one.
    write: Last,
    accumulation: Last,
    read: Last,
    /// The last epoch in which another workgroup than that of `read` has read it.
    read_elsewhere: u32,
    read_elsewhere_access: Access,
}

impl Cell {
    /// Nobody has written it.
    pub(crate) const FRESH: Cell = Cell {
        written: 0,
        write: Last::NEVER,
        accumulation: Last::NEVER,
        read: Last::NEVER,
        read_elsewhere: 0,
        read_elsewhere_access: Access::Read,
    };

    /// The host has written it.
    pub(crate) const WRITTEN: Cell = Cell {
        written: HOST,
        ..Cell::FRESH
    };

    /// Whether it was written in an epoch or later.
    pub(crate) fn is_written_since(&self, epoch: u32) -> bool {
        self.written >= epoch
    }

    /// Records an access; returns an unordered one before it that conflicts with it.
    pub(crate) fn touch(&mut self, clock: Clock, agent: Agent, access: Access) -> Option<Conflict> {
        let elsewhere = Last {
            epoch: self.read_elsewhere,
            agent: SOME,
            access: self.read_elsewhere_access,
        };
        let reads = [self.read, elsewhere];
        let reads = if access.writes() { &reads[..] } else { &[] };
        let mut conflict = None;
        for last in [self.write, self.accumulation].iter().chain(reads) {
            if conflict.is_none() && last.is_unordered(clock, agent) {
                conflict = last.conflict(clock, access);
            }
        }

        let agent_with = |last: &Last| match last.epoch == clock.now && last.agent != agent {
            true => SOME,
            false => agent,
        };
        let next = |last: &Last, access: Access| Last {
            epoch: clock.now,
            agent: agent_with(last),
            access,
        };
        if access.writes() && access != Access::WriteBeside {
            self.written = clock.now;
        }
        match access {
            Access::Accumulate(_) => {
                // Several functions together commute with none.
                let last = &self.accumulation;
                let is_unordered = last.epoch == clock.now
                    || (clock.dispatch..clock.workgroup).contains(&last.epoch);
                let together = match is_unordered && last.access != access {
                    true => Access::Exchange,
                    false => access,
                };
                self.accumulation = next(last, together);
            }
            _ if access.writes() => self.write = next(&self.write, access),
            _ => {
                if self.read.epoch < clock.workgroup {
                    self.read_elsewhere = self.read.epoch;
                    self.read_elsewhere_access = self.read.access;
                }
                self.read = next(&self.read, access);
            }
        }
        conflict
    }
}
