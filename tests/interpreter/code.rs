//! The flat form of a kernel: structured control flow over instructions on numbered registers.
//!
//! A register holds one 32-bit word for each invocation of a workgroup, and an instruction works
//! on all of them. Vectors, arrays and structs are lists of registers, so taking one apart costs
//! nothing. Functions are inlined, and every address is a constant plus at most one register.

use naga::{AtomicFunction, BuiltIn, CollectiveOperation, SubgroupOperation};

/// A register's number.
pub(crate) type Slot = u32;

/// The words of one register.
pub(crate) type Lanes = Box<[u32]>;

/// A function of each lane of one, two or three registers.
pub(crate) type Map1 = fn(&mut [u32], &[u32]);
pub(crate) type Map2 = fn(&mut [u32], &[u32], &[u32]);
pub(crate) type Map3 = fn(&mut [u32], &[u32], &[u32], &[u32]);

/// A place that control flow leaves early for: the end of a loop, of its body, of a switch, or of
/// an inlined function. Unique in a kernel.
pub(crate) type Frame = u32;

/// A kernel, compiled for one size of subgroups.
pub(crate) struct Code {
    /// Name, for messages.
    pub(crate) name: String,
    /// Number of registers.
    pub(crate) slots: usize,
    /// Registers that hold constants.
    pub(crate) constants: Vec<(Slot, u32)>,
    /// Registers of the arguments of the entry point, component by component.
    pub(crate) builtins: Vec<(BuiltIn, Vec<Slot>)>,
    /// Extents of a workgroup.
    pub(crate) workgroup: [u32; 3],
    /// Invocations in a subgroup.
    pub(crate) subgroup: u32,
    /// The variables in memory.
    pub(crate) memories: Vec<Memory>,
    /// The body of the entry point.
    pub(crate) body: Vec<Step>,
    /// Lines of the source that instructions refer to, without repetition.
    pub(crate) lines: Vec<String>,
    /// How the kernel depends on the contents of storage buffers, without repetition.
    pub(crate) dependences: Vec<Dependence>,
}

/// A variable that invocations share.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) name: String,
    pub(crate) space: Space,
    /// Whether the kernel may write it.
    pub(crate) writable: bool,
    /// Bytes of a cell, the unit of addresses: 4, or 2 where there are halves.
    pub(crate) granule: u32,
    /// Number of cells of a variable in workgroup memory.
    pub(crate) cells: usize,
}

/// Where a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Uniform,
    Workgroup,
    /// A storage buffer with this number of its binding.
    Storage(u32),
}

/// An index into [`Code::memories`].
pub(crate) type MemoryId = usize;

/// An index into [`Code::lines`].
pub(crate) type Line = u32;

/// Something that the contents of storage buffers decide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dependence {
    /// An address of shared memory, on this line.
    Address(Line),
    /// Whether an access, a barrier or a subgroup operation happens, on this line.
    Control(Line),
}

/// A cell of a memory for each invocation: a constant plus a register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) memory: MemoryId,
    pub(crate) fixed: u32,
    pub(crate) dynamic: Option<Slot>,
}

/// How many elements an array has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Fixed(u32),
    /// A run-time-sized array from this cell to the end of the binding, and cells of an element.
    Runtime {
        memory: MemoryId,
        start: u32,
        stride: u32,
    },
}

/// Structured control flow.
#[derive(Debug)]
pub(crate) enum Step {
    Op(Op),
    If {
        condition: Slot,
        accept: Vec<Step>,
        reject: Vec<Step>,
    },
    /// Arms by their values; the last is the default.
    Switch {
        selector: Slot,
        arms: Vec<(Vec<u32>, Vec<Step>)>,
        default: usize,
        end: Frame,
    },
    Loop {
        body: Vec<Step>,
        continuing: Vec<Step>,
        break_if: Option<Slot>,
        next: Frame,
        end: Frame,
    },
    /// An inlined function.
    Scope {
        body: Vec<Step>,
        end: Frame,
    },
    /// The invocations wait for the end of a frame.
    Exit(Frame),
}

/// Instructions. Those that only compute do so for all invocations, also for those that wait.
#[derive(Debug)]
pub(crate) enum Op {
    Map1(Map1, Slot, Slot),
    Map2(Map2, Slot, [Slot; 2]),
    Map3(Map3, Slot, [Slot; 3]),
    /// Shift of a 64-bit number, low word first, by a number of bits.
    Shift64 {
        left: bool,
        result: [Slot; 2],
        value: [Slot; 2],
        bits: Slot,
    },
    /// Writes a variable of the function for the active invocations.
    Assign(Slot, Slot),
    /// Adds index * stride to an offset; an index out of range is reported and clamped.
    Index {
        result: Slot,
        index: Slot,
        base: Option<Slot>,
        stride: u32,
        limit: Limit,
        of: Box<str>,
        line: Line,
    },
    /// Element of a list of registers.
    Pick {
        result: Slot,
        list: Box<[Slot]>,
        index: Slot,
    },
    /// Register base + offset.
    LoadLocal {
        result: Slot,
        base: Slot,
        offset: Slot,
    },
    StoreLocal {
        base: Slot,
        offset: Slot,
        value: Slot,
    },
    /// Cells at distances from an address.
    Load {
        address: Address,
        cells: Box<[(u32, Slot)]>,
        atomic: bool,
        line: Line,
    },
    Store {
        address: Address,
        cells: Box<[(u32, Slot)]>,
        atomic: bool,
        line: Line,
    },
    /// The rest of a vector of which one component is loaded or stored.
    Beside {
        address: Address,
        cells: Box<[u32]>,
        write: bool,
        line: Line,
    },
    Atomic {
        address: Address,
        function: AtomicFunction,
        signed: bool,
        value: Slot,
        /// What an exchange compares with.
        compare: Option<Slot>,
        /// The old value, and for a comparison whether it exchanged.
        result: Option<[Slot; 2]>,
        line: Line,
    },
    ArrayLength {
        result: Slot,
        limit: Limit,
    },
    Barrier {
        workgroup: bool,
        storage: bool,
        line: Line,
    },
    Shuffle {
        mode: Shuffle,
        results: Vec<Slot>,
        values: Vec<Slot>,
        line: Line,
    },
    Collective {
        operation: SubgroupOperation,
        scan: CollectiveOperation,
        kind: naga::ScalarKind,
        results: Vec<Slot>,
        values: Vec<Slot>,
        line: Line,
    },
    MatrixLoad {
        extent: u32,
        results: Vec<Slot>,
        address: Address,
        stride: Slot,
        row_major: bool,
        line: Line,
    },
    MatrixStore {
        extent: u32,
        values: Vec<Slot>,
        address: Address,
        stride: Slot,
        row_major: bool,
        line: Line,
    },
    MatrixMultiplyAdd {
        extent: u32,
        results: Vec<Slot>,
        /// a, b and c of a * b + c.
        operands: [Vec<Slot>; 3],
        line: Line,
    },
}

/// Which invocation of its subgroup a value comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shuffle {
    First,
    /// An invocation's number.
    Index(Slot),
    Up(Slot),
    Down(Slot),
    Xor(Slot),
}
