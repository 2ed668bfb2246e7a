//! Graphs on an adapter, lowered to programs and loaded.

use std::ops::Range;
use std::sync::Arc;

use super::{Backend, EngineError};
use crate::engine::MemoryPlan;
use crate::gpu::{BufferRange, Gpu, KeptBuffer, LoadedPrograms, Readback};
use crate::graph::Graph;
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::kernels::{self, Choices, LowerError, Lowered};
use crate::program::Program;

/// Programs on an adapter.
pub(in crate::engine) struct GpuBackend {
    gpu: Arc<Gpu>,
    loaded: LoadedPrograms,
    /// The buffer of each region.
    buffers: Vec<KeptBuffer>,
}

impl GpuBackend {
    /// Lowers the graphs for an adapter and builds their programs; also returns the kernels in
    /// use, where there was a choice.
    ///
    /// # Errors
    /// If the adapter cannot hold or run them.
    pub(in crate::engine) fn new(
        gpu: &Arc<Gpu>,
        target: &kernels::Target,
        graphs: &[Graph],
        lasting: &LastingMemory,
        choices: &Choices,
    ) -> Result<(GpuBackend, Choices), EngineError> {
        let lowered: Result<Vec<Lowered>, LowerError> = graphs
            .iter()
            .map(|graph| kernels::lower(graph, target, choices))
            .collect();
        let lowered = lowered?;
        let mut used = Choices::default();
        for (graph, lowered) in graphs.iter().zip(&lowered) {
            check_layout(graph, lowered, lasting);
            used.extend(&lowered.choices);
        }
        let programs: Vec<&Program> = lowered.iter().map(|lowered| &lowered.program).collect();
        MemoryPlan::check(target, &programs)?;
        let loaded = LoadedPrograms::new(gpu, &programs)?;
        #[cfg(not(target_arch = "wasm32"))]
        gpu.hand_over_pipelines();
        let regions = lasting.regions.iter();
        let backend = GpuBackend {
            gpu: Arc::clone(gpu),
            buffers: regions.map(|region| loaded.buffer(&region.name)).collect(),
            loaded,
        };
        Ok((backend, used))
    }

    fn buffer_range(&self, range: &MemoryRange) -> BufferRange {
        BufferRange {
            buffer: self.buffers[range.region],
            offset: 4 * range.offset as u64,
            bytes: 4 * range.words as u64,
        }
    }
}

/// Asserts that lowering and the engine lay out lasting values alike.
fn check_layout(graph: &Graph, lowered: &Lowered, lasting: &LastingMemory) {
    let ranges = lasting.ranges(graph);
    for (value, (range, place)) in graph.values.iter().zip(ranges.iter().zip(&lowered.places)) {
        if let (Some(range), Some(place)) = (range, place) {
            let buffer = &lowered.program.buffers[place.buffer.0].name;
            let region = &lasting.regions[range.region].name;
            assert_eq!(
                (buffer, place.offset),
                (region, 4 * range.offset as u64),
                "lowering and the engine disagree on the memory of {}",
                value.name
            );
        }
    }
}

impl Backend for GpuBackend {
    fn bytes(&self) -> u64 {
        self.loaded.bytes()
    }

    fn write(&mut self, range: MemoryRange, words: &[u32]) {
        let BufferRange { buffer, offset, .. } = self.buffer_range(&range);
        let bytes = bytemuck::cast_slice(words);
        self.loaded.write(&self.gpu, buffer, offset, bytes);
    }

    fn clear(&mut self, range: MemoryRange) {
        self.loaded.clear(&self.gpu, self.buffer_range(&range));
    }

    async fn read(&self, ranges: &[MemoryRange]) -> Result<Vec<Vec<u32>>, EngineError> {
        let ranges: Vec<BufferRange> = ranges
            .iter()
            .map(|range| self.buffer_range(range))
            .collect();
        let bytes = self.loaded.read(&self.gpu, &ranges).await?;
        let words = bytes
            .iter()
            .map(|bytes| bytemuck::pod_collect_to_vec(bytes));
        Ok(words.collect())
    }

    fn readback(&self, range: MemoryRange) -> Result<Option<Readback>, EngineError> {
        let range = self.buffer_range(&range);
        Ok(Some(self.loaded.readback(&self.gpu, range)?))
    }

    fn start_reading(&self, range: MemoryRange, readback: Option<&mut Readback>) {
        let range = self.buffer_range(&range);
        let readback = readback.expect("memory of this backend");
        self.loaded.start_reading(&self.gpu, range, readback);
    }

    async fn finish_reading(
        &self,
        range: MemoryRange,
        readback: Option<&mut Readback>,
        take: impl FnOnce(&[u32]),
    ) -> Result<(), EngineError> {
        let readback = readback.expect("memory of this backend");
        // Mapped memory is aligned to eight bytes.
        let take = |bytes: &[u8]| take(&bytemuck::cast_slice(bytes)[..range.words]);
        Ok(self
            .loaded
            .finish_reading(&self.gpu, readback, take)
            .await?)
    }

    fn run(&mut self, graph: usize, parts: Range<usize>) -> Result<(), EngineError> {
        Ok(self.loaded.run_parts(&self.gpu, graph, parts)?)
    }

    fn finish(&self) -> Result<(), EngineError> {
        Ok(self.gpu.finish()?)
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn time(
        &mut self,
        graph: usize,
    ) -> Result<Option<Vec<crate::gpu::KernelTime>>, EngineError> {
        Ok(self.loaded.time(&self.gpu, graph).await?)
    }
}
