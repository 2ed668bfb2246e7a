//! Graphs on the CPU: a run ends before the call returns.

use std::ops::Range;
use std::sync::Arc;

use super::{Backend, EngineError};
use crate::cpu::{Cpu, LoadedGraphs};
use crate::gpu::Readback;
use crate::graph::Graph;
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::memory::OutOfMemory;

/// Graphs on the CPU.
pub(in crate::engine) struct CpuBackend(LoadedGraphs);

impl CpuBackend {
    /// Lasting values start as zeros.
    ///
    /// # Errors
    /// If there is not as much memory.
    pub(in crate::engine) fn new(
        cpu: &Arc<Cpu>,
        graphs: Vec<Graph>,
        lasting: &LastingMemory,
    ) -> Result<CpuBackend, OutOfMemory> {
        let loaded = LoadedGraphs::new(Arc::clone(cpu), graphs, lasting)?;
        Ok(CpuBackend(loaded))
    }
}

impl Backend for CpuBackend {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn write(&mut self, range: MemoryRange, words: &[u32]) {
        self.0.words_mut(range)[..words.len()].copy_from_slice(words);
    }

    fn clear(&mut self, range: MemoryRange) {
        self.0.words_mut(range).fill(0);
    }

    async fn read(&self, ranges: &[MemoryRange]) -> Result<Vec<Vec<u32>>, EngineError> {
        let ranges = ranges.iter().map(|range| self.0.words(*range).to_vec());
        Ok(ranges.collect())
    }

    async fn finish_reading(
        &self,
        range: MemoryRange,
        _: Option<&mut Readback>,
        take: impl FnOnce(&[u32]),
    ) -> Result<(), EngineError> {
        take(self.0.words(range));
        Ok(())
    }

    fn run(&mut self, graph: usize, parts: Range<usize>) -> Result<(), EngineError> {
        self.0.run(graph, parts, || ());
        Ok(())
    }

    fn finish(&self) -> Result<(), EngineError> {
        Ok(())
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn time(
        &mut self,
        graph: usize,
    ) -> Result<Option<Vec<crate::gpu::KernelTime>>, EngineError> {
        let mut times = Vec::new();
        let first = std::time::Instant::now();
        let mut last = first;
        let parts = 0..self.0.parts(graph);
        self.0.run(graph, parts, || {
            let now = std::time::Instant::now();
            times.push(crate::gpu::KernelTime {
                dispatch: times.len(),
                start: (last - first).as_secs_f64(),
                seconds: (now - last).as_secs_f64(),
            });
            last = now;
        });
        Ok(Some(times))
    }
}
