//! The interface between an engine and its device.
//!
//! A backend is a set of graphs loaded on one device, with all their memory. It owns its device
//! handle, so the two always match.

mod cpu;
mod gpu;
mod reference;

use std::ops::Range;

pub(super) use cpu::CpuBackend;
pub(super) use gpu::GpuBackend;
pub(super) use reference::{ReferenceBackend, needed as needed_by_reference};

use super::EngineError;
#[cfg(not(target_arch = "wasm32"))]
use crate::gpu::KernelTime;
use crate::gpu::Readback;
use crate::graph::lasting::MemoryRange;

/// Graphs loaded on a device.
///
/// Ranges are those of the graphs' [`crate::graph::lasting::LastingMemory`]. Writes, clears, runs
/// and reads take effect in the order of the calls.
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

    /// Memory of the host for copies of a range, where that is not the device's memory.
    ///
    /// # Errors
    /// If there is not as much.
    fn readback(&self, _range: MemoryRange) -> Result<Option<Readback>, EngineError> {
        Ok(None)
    }

    /// Starts copying a range to that memory, as it is after all calls so far.
    fn start_reading(&self, _range: MemoryRange, _readback: Option<&mut Readback>) {}

    /// Waits for the copy of a range, and calls a function with its words.
    ///
    /// # Errors
    /// If the device fails.
    async fn finish_reading(
        &self,
        range: MemoryRange,
        readback: Option<&mut Readback>,
        take: impl FnOnce(&[u32]),
    ) -> Result<(), EngineError>;

    /// Runs some parts of a graph ([`crate::graph::Graph::parts`]), or submits them. The parts of a run
    /// follow one another, with no other run in between.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    fn run(&mut self, graph: usize, parts: Range<usize>) -> Result<(), EngineError>;

    /// Waits for all runs; in browsers, only checks for errors.
    ///
    /// # Errors
    /// Any error that the device has reported so far.
    fn finish(&self) -> Result<(), EngineError>;

    /// Runs a graph and times each dispatch, or each node; `None` if the device cannot.
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
