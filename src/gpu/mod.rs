//! The only room that names wgpu: adapters, devices, and running programs on them.
//!
//! [`adapter`] lists adapters and selects one; [`Gpu`] is an open device; [`LoadedPrograms`] holds
//! programs ready to run, with every pipeline, buffer and bind group built once.
//! The room is independent of operators.

pub mod adapter;
mod compile;
mod device;
mod loaded;
#[cfg(not(target_arch = "wasm32"))]
mod pipelines;
mod timing;
#[cfg(not(target_arch = "wasm32"))]
mod warm;

pub use adapter::{Adapter, Description, Selection};
pub use device::{Checks, Gpu};
pub use loaded::{BufferRange, KeptBuffer, LoadedPrograms};
pub use timing::KernelTime;

/// Major version of wgpu.
pub const WGPU_VERSION: &str = "30";

/// Errors of adapters and devices.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// No adapter was found.
    #[error(
        "no GPU adapter was found{looked}; install your GPU's driver, or on Linux the software \
         adapter lavapipe (Debian and Ubuntu: `apt-get install mesa-vulkan-drivers`, Fedora: \
         `dnf install mesa-vulkan-drivers`, Arch: `pacman -S vulkan-swrast`); `--device cpu` \
         needs no adapter"
    )]
    NoAdapter {
        /// The restriction on the search, such as ` for the backend metal`, or empty.
        looked: String,
    },
    /// A device name or number that matches no adapter.
    #[error("no adapter fits `{wanted}`; a number or part of a name selects one of: {known}")]
    UnknownAdapter {
        /// The requested name or number.
        wanted: String,
        /// All adapters, one [`Description::line`] each, and the CPU.
        known: String,
    },
    /// The driver failed to open the adapter.
    #[error("{adapter} could not be opened: {reason}; `pyr-wgpu devices` lists the others")]
    Open {
        /// Name of the adapter.
        adapter: String,
        /// The driver's message.
        reason: String,
    },
    /// The adapter is out of memory.
    #[error("{adapter} ran out of memory; use a smaller --batch-size or --micro-batch")]
    OutOfMemory {
        /// Name of the adapter.
        adapter: String,
    },
    /// A buffer exceeds the adapter's limit.
    #[error(
        "{name} needs a buffer of {bytes} bytes; {adapter} allows at most {limit}; use a smaller \
         network or batch"
    )]
    BufferTooLarge {
        /// What the buffer is for.
        name: String,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
        /// Name of the adapter.
        adapter: String,
    },
    /// The device was lost: driver reset, unplugged, suspended.
    #[error("the device was lost: {0}; the last checkpoint is intact, `--resume` continues")]
    Lost(String),
    /// The driver or wgpu rejected a call or a shader.
    #[error("GPU error, a bug in pyr-wgpu or the driver: {0}")]
    Rejected(String),
}
