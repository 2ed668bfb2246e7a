//! A GPU program as plain data: numbered buffers and a list of dispatches.
//!
//! A program is independent of operators and devices. It can be printed and compared, and counts
//! its bytes, flops, invocations and waits for memory ([`Program::totals`]).
//! [`plan`] assigns its temporary buffers to fewer physical ones.

pub mod plan;

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::shape::DType;

/// From the start of the first range to the end of the last.
///
/// # Panics
/// If there is none.
pub fn span(ranges: &[Range<usize>]) -> Range<usize> {
    let (first, last) = (&ranges[0], &ranges[ranges.len() - 1]);
    first.start..last.end
}

/// Index of a buffer in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// Index of a kernel in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId(pub usize);

/// How long a buffer's contents live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Across runs; programs share kept buffers of the same name.
    Kept,
    /// From its first write to its last use inside one run.
    Temporary,
}

/// A logical buffer, not yet allocated.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// Shown when printed; identifies kept buffers.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Lifetime.
    pub lifetime: Lifetime,
}

/// Whether a kernel may write through a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// A range of a buffer that is bound to a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// The buffer.
    pub buffer: BufferId,
    /// First byte; a multiple of [`OFFSET_ALIGNMENT`].
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Access.
    pub access: Access,
}

/// Alignment of binding offsets in bytes: WebGPU's default limit
/// `minStorageBufferOffsetAlignment`.
pub const OFFSET_ALIGNMENT: u64 = 256;

/// A compute shader: WGSL with entry point `main`, a uniform of parameters at binding 0 and
/// storage buffers from binding 1 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Stem of the shader's file, with the values of its tile constants.
    pub name: String,
    /// WGSL text.
    pub source: Arc<str>,
    /// Access of the storage bindings, in order.
    pub bindings: Vec<Access>,
    /// Invocations of a workgroup.
    pub workgroup: u32,
    /// Optional adapter features that the shader uses.
    pub needs: Needs,
}

impl Hash for Kernel {
    /// Hashes the name only, which nearly identifies a kernel: the text is long.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// Optional adapter features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// Subgroup operations.
    pub subgroups: bool,
    /// 64-bit integers.
    pub int64: bool,
    /// Half-precision arithmetic (`f16` in WGSL).
    pub f16: bool,
    /// Cooperative matrices.
    pub matrices: bool,
}

/// A cooperative-matrix configuration of an adapter: square matrices, multiplied by a subgroup
/// and accumulated in single precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MatrixUnit {
    /// Rows and columns of a matrix.
    pub size: u32,
    /// Element type of the factors: [`DType::F16`] or [`DType::F32`].
    pub operands: DType,
    /// Invocations of the smallest and of the largest subgroup.
    pub subgroup: [u32; 2],
}

impl MatrixUnit {
    /// Maximum workgroup size, in invocations, of kernels that use matrix units.
    pub const INVOCATIONS: u32 = 128;

    /// Maximum workgroup memory of these kernels, in bytes.
    pub const STORAGE: u32 = 32 << 10;

    /// Whether the kernels support this unit: 8 or 16 rows, as WGSL has, and subgroups of at most
    /// [`MatrixUnit::INVOCATIONS`] whose sizes differ by at most a factor of two. With `f32`
    /// operands, which need more workgroup memory, the subgroup size must be fixed.
    pub fn usable(&self) -> bool {
        let [smallest, largest] = self.subgroup;
        let factor = match self.operands {
            DType::F16 => 2,
            DType::F32 => 1,
            DType::U32 => return false,
        };
        [8, 16].contains(&self.size)
            && (smallest..=smallest * factor).contains(&largest)
            && (1..=Self::INVOCATIONS).contains(&largest)
    }
}

impl fmt::Display for MatrixUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{0}x{0} {1}", self.size, self.operands)
    }
}

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The kernel.
    pub kernel: KernelId,
    /// Description of what it computes.
    pub label: String,
    /// Words of the kernel's uniform parameters.
    pub uniforms: Vec<u32>,
    /// Storage bindings, in the kernel's order.
    pub bindings: Vec<Binding>,
    /// Number of workgroups along x, y, z.
    pub grid: [u32; 3],
    /// Multiplications and additions on true elements.
    pub flops: u64,
    /// Times that an invocation waits for memory, one after another, at least 1: iterations of its
    /// loops, times the loads of an iteration that depend on each other.
    ///
    /// Loads that do not depend on each other count once. A compiler may need fewer waits, if it
    /// overlaps iterations, or more, if it does not overlap loads.
    pub serial_steps: u32,
}

/// Sums over the dispatches of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Number of dispatches.
    pub dispatches: usize,
    /// Memory traffic in bytes ([`Program::bytes`]).
    pub bytes: u64,
    /// Multiplications and additions on true elements.
    pub flops: u64,
    /// Waits for memory ([`Dispatch::serial_steps`]).
    pub serial_steps: u64,
}

/// Buffers, kernels, dispatches in execution order, and the buffers cleared after them.
///
/// A run executes all dispatches in order. At a pause the host may read and write kept buffers; pauses
/// divide a run into parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Buffers by [`BufferId`].
    pub buffers: Vec<Buffer>,
    /// Kernels by [`KernelId`], without duplicates.
    pub kernels: Vec<Kernel>,
    /// Dispatches in execution order.
    pub dispatches: Vec<Dispatch>,
    /// Numbers of the dispatches before which a run pauses, in order; several pauses may be at one place.
    pub pauses: Vec<usize>,
    /// Kept buffers that a run fills with zeros after its last dispatch.
    pub clears: Vec<BufferId>,
    kernel_ids: HashMap<Kernel, KernelId>,
}

impl Program {
    /// An empty program.
    pub fn new() -> Program {
        Program::default()
    }

    /// Adds a buffer.
    pub fn buffer(&mut self, name: &str, bytes: u64, lifetime: Lifetime) -> BufferId {
        self.buffers.push(Buffer {
            name: name.to_owned(),
            bytes,
            lifetime,
        });
        BufferId(self.buffers.len() - 1)
    }

    /// Adds a kernel, unless the program already has it.
    pub fn kernel(&mut self, kernel: Kernel) -> KernelId {
        if let Some(id) = self.kernel_ids.get(&kernel) {
            return *id;
        }
        let id = KernelId(self.kernels.len());
        self.kernels.push(kernel.clone());
        self.kernel_ids.insert(kernel, id);
        id
    }

    /// The dispatches of each part of a run.
    pub fn parts(&self) -> Vec<Range<usize>> {
        let pauses = || self.pauses.iter().copied();
        let starts = [0].into_iter().chain(pauses());
        let ends = pauses().chain([self.dispatches.len()]);
        starts.zip(ends).map(|(start, end)| start..end).collect()
    }

    /// Total bytes of a dispatch's bindings, bindings with the same buffer and offset counted once:
    /// its memory traffic if it accesses every byte once.
    pub fn bytes(dispatch: &Dispatch) -> u64 {
        let bindings = &dispatch.bindings;
        let repeated = |at: usize| {
            let place = |b: &Binding| (b.buffer, b.offset);
            bindings[..at]
                .iter()
                .any(|b| place(b) == place(&bindings[at]))
        };
        let distinct = (0..bindings.len()).filter(|at| !repeated(*at));
        distinct.map(|at| bindings[at].bytes).sum()
    }

    /// The kernel of a dispatch.
    pub fn kernel_of(&self, dispatch: &Dispatch) -> &Kernel {
        &self.kernels[dispatch.kernel.0]
    }

    /// Invocations of a dispatch, those past the end of its operands included.
    pub fn invocations(&self, dispatch: &Dispatch) -> u64 {
        let groups = dispatch.grid.iter().map(|extent| u64::from(*extent));
        groups.product::<u64>() * u64::from(self.kernel_of(dispatch).workgroup)
    }

    /// Sums over all dispatches.
    pub fn totals(&self) -> Totals {
        let dispatches = &self.dispatches;
        Totals {
            dispatches: dispatches.len(),
            bytes: dispatches.iter().map(Program::bytes).sum(),
            flops: self.flops(),
            serial_steps: dispatches.iter().map(|d| u64::from(d.serial_steps)).sum(),
        }
    }

    /// Multiplications and additions of all dispatches on true elements.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|d| d.flops).sum()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, dispatch) in self.dispatches.iter().enumerate() {
            for _ in self.pauses.iter().filter(|pause| **pause == number) {
                writeln!(f, "pause")?;
            }
            let bindings: Vec<String> = dispatch
                .bindings
                .iter()
                .map(|b| {
                    let mark = if b.access == Access::Write { "&" } else { "" };
                    let name = &self.buffers[b.buffer.0].name;
                    match b.offset {
                        0 => format!("{mark}{name}"),
                        offset => format!("{mark}{name}+{offset}"),
                    }
                })
                .collect();
            writeln!(
                f,
                "{} {:?} {:?} ({}) // {}",
                self.kernel_of(dispatch).name,
                dispatch.grid,
                dispatch.uniforms,
                bindings.join(", "),
                dispatch.label
            )?;
        }
        let last = self.dispatches.len();
        for _ in self.pauses.iter().filter(|pause| **pause == last) {
            writeln!(f, "pause")?;
        }
        for buffer in &self.clears {
            writeln!(f, "clear {}", self.buffers[buffer.0].name)?;
        }
        Ok(())
    }
}
