//! A GPU program as plain data: numbered buffers and a list of dispatches.
//!
//! A program knows neither operators nor devices: it prints, compares, counts its own bytes
//! and flops, and any device room can run it.
//! [`plan`] assigns its temporary buffers to few physical ones.

pub mod plan;

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::shape::DType;

/// A number that changes when a text does (FNV-1a).
pub fn fingerprint(text: impl IntoIterator<Item = u8>) -> u64 {
    text.into_iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Names a buffer of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// Names a kernel of one program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId(pub usize);

/// How long a buffer's contents live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Between runs; programs that name the same buffer share it.
    Kept,
    /// From its first write to its last use inside one run.
    Temporary,
}

/// A buffer before it has a place.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffer {
    /// For people; for kept buffers also the identity.
    pub name: String,
    /// Size.
    pub bytes: u64,
    /// Lifetime.
    pub lifetime: Lifetime,
}

/// Whether a dispatch may write through a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`.
    Read,
    /// `var<storage, read_write>`.
    Write,
}

/// A part of a buffer as a kernel sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Which buffer.
    pub buffer: BufferId,
    /// First byte; a multiple of [`OFFSET_ALIGNMENT`].
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Access.
    pub access: Access,
}

/// Offsets of bindings are multiples of this: WebGPU's default limit.
pub const OFFSET_ALIGNMENT: u64 = 256;

/// A compute shader: WGSL with entry point `main`, a uniform of parameters at binding 0 and
/// storage buffers from binding 1 on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// Stem of the shader's file, with the values of its tile constants.
    pub name: String,
    /// WGSL text.
    pub source: String,
    /// Access of the storage bindings, in order.
    pub bindings: Vec<Access>,
    /// What the text uses beyond what every adapter has.
    pub needs: Needs,
}

/// What not every adapter has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// Subgroup operations.
    pub subgroups: bool,
    /// 64-bit integers.
    pub int64: bool,
    /// Halves as numbers of their own.
    pub f16: bool,
    /// Products of matrices.
    pub matrices: bool,
}

/// Products of matrices that an adapter computes in one instruction (cooperative matrices):
/// square ones, with sums in single precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct MatrixUnit {
    /// Rows and columns of a matrix.
    pub size: u32,
    /// Elements of the factors: [`DType::F16`] or [`DType::F32`].
    pub operands: DType,
    /// Invocations of the smallest and of the largest subgroup; those of a subgroup share a
    /// matrix.
    pub subgroup: [u32; 2],
}

impl MatrixUnit {
    /// Invocations of a workgroup of the kernels that use it, at most.
    pub const INVOCATIONS: u32 = 128;

    /// Workgroup memory that they take, at most, in bytes.
    pub const STORAGE: u32 = 32 << 10;

    /// Whether the kernels can use it: WGSL has matrices of 8 and 16 rows, and they take sizes of
    /// subgroups that differ by a factor of two, and with factors in single precision, which take
    /// more memory, by none.
    pub fn usable(&self) -> bool {
        let [smallest, largest] = self.subgroup;
        let differ = match self.operands {
            DType::F16 => 2,
            _ => 1,
        };
        [8, 16].contains(&self.size)
            && (smallest..=smallest * differ).contains(&largest)
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
    /// Which kernel.
    pub kernel: KernelId,
    /// What it computes, for people.
    pub label: String,
    /// The kernel's parameters, word by word.
    pub uniforms: Vec<u32>,
    /// Storage bindings, in order.
    pub bindings: Vec<Binding>,
    /// Workgroups along x, y, z.
    pub grid: [u32; 3],
    /// Arithmetic on true elements.
    pub flops: u64,
}

/// Buffers, kernels and dispatches in execution order, then what is cleared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// Buffers by [`BufferId`].
    pub buffers: Vec<Buffer>,
    /// Kernels by [`KernelId`], each once.
    pub kernels: Vec<Kernel>,
    /// Launches in order.
    pub dispatches: Vec<Dispatch>,
    /// Kept buffers that a run fills with zeros when all dispatches are done.
    pub clears: Vec<BufferId>,
    known: HashMap<Kernel, KernelId>,
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

    /// Adds a kernel, unless the program has it already.
    pub fn kernel(&mut self, kernel: Kernel) -> KernelId {
        if let Some(id) = self.known.get(&kernel) {
            return *id;
        }
        let id = KernelId(self.kernels.len());
        self.kernels.push(kernel.clone());
        self.known.insert(kernel, id);
        id
    }

    /// Bytes that a dispatch's bindings show, each place counted once: what it moves at least.
    pub fn bytes(dispatch: &Dispatch) -> u64 {
        let bindings = &dispatch.bindings;
        let again = |at: usize| {
            let place = |b: &Binding| (b.buffer, b.offset);
            bindings[..at]
                .iter()
                .any(|b| place(b) == place(&bindings[at]))
        };
        let places = (0..bindings.len()).filter(|at| !again(*at));
        places.map(|at| bindings[at].bytes).sum()
    }

    /// The kernel of a dispatch.
    pub fn kernel_of(&self, dispatch: &Dispatch) -> &Kernel {
        &self.kernels[dispatch.kernel.0]
    }

    /// Arithmetic of the whole program on true elements.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(|d| d.flops).sum()
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for dispatch in &self.dispatches {
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
        for buffer in &self.clears {
            writeln!(f, "clear {}", self.buffers[buffer.0].name)?;
        }
        Ok(())
    }
}
