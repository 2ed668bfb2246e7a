//! The only room that names wgpu: adapters, the device, and running programs on it.
//!
//! [`adapter`] lists adapters and picks one; [`Gpu`] is an opened device; [`LoadedPrograms`] holds
//! programs ready to run, with every pipeline, buffer and bind group built once.
//! The room knows no operator.

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

/// Version of the backend library.
pub const WGPU_VERSION: &str = "30";

/// What can go wrong between the program and the adapter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// There is nothing to run on.
    #[error(
        "no GPU adapter was found{looked}; install your GPU's driver, or on Linux the software \
         adapter lavapipe (Debian and Ubuntu: `apt-get install mesa-vulkan-drivers`, Fedora: \
         `dnf install mesa-vulkan-drivers`, Arch: `pacman -S vulkan-swrast`); `--device cpu` \
         needs no adapter"
    )]
    NoAdapter {
        /// Restriction that was in force, such as ` for the backend metal`.
        looked: String,
    },
    /// A device name or number that fits no adapter.
    #[error("no adapter fits `{wanted}`; adapters are: {known}")]
    UnknownAdapter {
        /// What was asked for.
        wanted: String,
        /// All adapters.
        known: String,
    },
    /// The driver refused to open the adapter.
    #[error("{adapter} could not be opened: {reason}; `pyr-wgpu devices` lists the others")]
    Open {
        /// Its name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// Not enough memory on the adapter.
    #[error("{adapter} ran out of memory; use a smaller --batch-size or --micro-batch")]
    OutOfMemory {
        /// Its name.
        adapter: String,
    },
    /// A buffer that the adapter cannot make.
    #[error(
        "{name} needs a buffer of {bytes} bytes, {adapter} makes at most {limit}; use a smaller \
         network or batch"
    )]
    BufferTooLarge {
        /// What the buffer is for.
        name: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
        /// The adapter.
        adapter: String,
    },
    /// The device went away: driver reset, unplugged, suspended.
    #[error("the device was lost: {0}; the last checkpoint is intact, `--resume` continues")]
    Lost(String),
    /// The driver or wgpu rejected something of ours.
    #[error("GPU error, a bug in pyr-wgpu or the driver: {0}")]
    Rejected(String),
}
