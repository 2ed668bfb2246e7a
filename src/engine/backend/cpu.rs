//! Graphs on the processor: a run ends before the call returns.

use std::sync::Arc;

use super::{Backend, EngineError};
use crate::cpu::{Cpu, LoadedGraphs};
use crate::graph::Graph;
use crate::graph::lasting::{LastingMemory, Part};

/// Graphs on the processor.
pub(in crate::engine) struct CpuBackend(LoadedGraphs);

impl CpuBackend {
    /// Lasting values begin as zeros.
    pub(in crate::engine) fn new(
        cpu: &Arc<Cpu>,
        graphs: Vec<Graph>,
        lasting: &LastingMemory,
    ) -> CpuBackend {
        CpuBackend(LoadedGraphs::new(Arc::clone(cpu), graphs, lasting))
    }
}

impl Backend for CpuBackend {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn write(&mut self, part: Part, words: &[u32]) {
        self.0.words_mut(part)[..words.len()].copy_from_slice(words);
    }

    fn clear(&mut self, part: Part) {
        self.0.words_mut(part).fill(0);
    }

    async fn read(&self, parts: &[Part]) -> Result<Vec<Vec<u32>>, EngineError> {
        let parts = parts.iter().map(|part| self.0.words(*part).to_vec());
        Ok(parts.collect())
    }

    fn run(&mut self, graph: usize) -> Result<(), EngineError> {
        self.0.run(graph, || ());
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
        let begin = std::time::Instant::now();
        let mut last = begin;
        self.0.run(graph, || {
            let now = std::time::Instant::now();
            times.push(crate::gpu::KernelTime {
                dispatch: times.len(),
                start: (last - begin).as_secs_f64(),
                seconds: (now - last).as_secs_f64(),
            });
            last = now;
        });
        Ok(Some(times))
    }
}
