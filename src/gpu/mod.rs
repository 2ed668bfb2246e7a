//! The only room that names wgpu: adapters, devices, and running programs on them.
//!
//! [`adapter`] lists adapters and selects one; [`Gpu`] is an open device; [`LoadedPrograms`] holds
//! programs ready to run, with every pipeline, buffer and bind group built once.
//! The room is independent of operators.

pub mod adapter;
mod arrival;
mod compile;
mod compiled;
mod device;
mod error;
mod loaded;
mod pace;
#[cfg(not(target_arch = "wasm32"))]
mod pipelines;
mod prepare;
mod readback;
mod timing;
#[cfg(not(target_arch = "wasm32"))]
mod wait;
#[cfg(not(target_arch = "wasm32"))]
mod warm;

pub use adapter::{Adapter, Description, Selection};
pub use compiled::Substitute;
pub use device::{Checks, Gpu, MAX_IN_FLIGHT};
pub use error::{Allocation, GpuError};
pub use loaded::{BufferRange, KeptBuffer, LoadedPrograms};
pub use readback::Readback;
pub use timing::KernelTime;

/// Major version of wgpu.
pub const WGPU_VERSION: &str = "30";
