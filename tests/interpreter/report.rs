//! Faults that the interpreter finds, and their text.

use std::collections::BTreeMap;
use std::fmt;

use crate::shadow::Access;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Unordered accesses of one cell by invocations of a workgroup, at least one of them a write.
    Race,
    /// The same by invocations of different workgroups.
    RaceBetweenWorkgroups,
    /// Unordered atomic accesses whose order decides the result.
    OrderOfAtomics,
    /// A barrier that only some invocations of the workgroup reach.
    DivergentBarrier,
    /// A subgroup operation that only some invocations of the subgroup reach, or whose uniform
    /// operands differ among them.
    DivergentSubgroup,
    /// A read of memory that nobody has written.
    Uninitialised,
    /// An index past the end of an array or of a binding.
    OutOfRange,
    /// An invocation of a subgroup that does not exist.
    NoSuchInvocation,
    /// A loop that takes too long.
    Endless,
}

/// A fault, where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    fault: Fault,
    /// Kernel, variable and line of the source.
    kernel: String,
    variable: String,
    line: String,
}

/// Everything that was found: places, the first example of each, and how many there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    places: BTreeMap<Place, (String, u64)>,
}

impl Report {
    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults: Vec<Fault> = self.places.keys().map(|place| place.fault).collect();
        faults.dedup();
        faults
    }

    pub(crate) fn add(
        &mut self,
        fault: Fault,
        kernel: &str,
        variable: &str,
        line: &str,
        example: impl FnOnce() -> String,
    ) {
        let place = Place {
            fault,
            kernel: kernel.to_owned(),
            variable: variable.to_owned(),
            line: line.to_owned(),
        };
        let entry = self.places.entry(place);
        entry.or_insert_with(|| (example(), 0)).1 += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (example, count)) in &self.places {
            let Place {
                fault,
                kernel,
                variable,
                line,
            } = place;
            writeln!(f, "{kernel}: {fault} `{variable}`, {count} times")?;
            writeln!(f, "    {line}\n    {example}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Race => "race on",
            Fault::RaceBetweenWorkgroups => "race between workgroups on",
            Fault::OrderOfAtomics => "result depends on the order of atomic accesses of",
            Fault::DivergentBarrier => "barrier in divergent control flow:",
            Fault::DivergentSubgroup => "subgroup operation that is not uniform:",
            Fault::Uninitialised => "read before any write of",
            Fault::OutOfRange => "index out of range of",
            Fault::NoSuchInvocation => "shuffle from an invocation that does not exist:",
            Fault::Endless => "loop without end:",
        })
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::ReadBeside => "read of another component",
            Access::WriteBeside => "write of another component",
            Access::AtomicLoad => "atomic load",
            Access::AtomicStore => "atomic store",
            Access::Accumulate(_) | Access::Exchange => "atomic update",
        })
    }
}
