//! The one interface through which an engine speaks to devices.
//!
//! A backend is some graphs loaded on one device, with all their memory. It holds its device
//! itself, so the two always fit.

mod cpu;
mod gpu;
mod reference;

pub(super) use cpu::CpuBackend;
pub(super) use gpu::GpuBackend;
pub(super) use reference::ReferenceBackend;

use super::EngineError;
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::KernelTime;
use crate::graph::lasting::MemoryRange;

/// Graphs loaded on a device.
///
/// Ranges are those of the graphs' [`crate::graph::lasting::LastingMemory`]; writes, clears and
/// runs take effect in the order of the calls, and reads see all that came before.
pub(super) trait Backend {
    /// Bytes of all buffers on the device.
    fn bytes(&self) -> u64;

    /// Writes the first words of a range.
    fn write(&mut self, range: MemoryRange, words: &[u32]);

    /// Fills a range with zeros.
    fn clear(&mut self, range: MemoryRange);

    /// Reads ranges.
    ///
    /// # Errors
    /// If the device fails.
    async fn read(&self, ranges: &[MemoryRange]) -> Result<Vec<Vec<u32>>, EngineError>;

    /// Starts a run of a graph.
    ///
    /// # Errors
    /// What the device reported since the last call.
    fn run(&mut self, graph: usize) -> Result<(), EngineError>;

    /// Waits for all runs.
    ///
    /// # Errors
    /// What went wrong in them.
    fn finish(&self) -> Result<(), EngineError>;

    /// Runs a graph and times each dispatch, or each node; `None` if the device cannot tell.
    ///
    /// # Errors
    /// If the device fails.
    #[cfg(not(target_arch = "wasm32"))]
    async fn time(&mut self, graph: usize) -> Result<Option<Vec<KernelTime>>, EngineError>;
}

/// The backend of any device.
pub(super) enum AnyBackend {
    Gpu(GpuBackend),
    Cpu(CpuBackend),
    Reference(ReferenceBackend),
}

/// Calls a method of [`Backend`] on an [`AnyBackend`].
macro_rules! delegate {
    ($backend:expr, $name:ident => $call:expr) => {
        match $backend {
            AnyBackend::Gpu($name) => $call,
            AnyBackend::Cpu($name) => $call,
            AnyBackend::Reference($name) => $call,
        }
    };
}
pub(super) use delegate;
