//! Graphs on the operators' plain references.
//!
//! They compute in double precision; lasting values are rounded to `f32` at the end of a run, or of
//! a part of it.

use std::collections::HashMap;
use std::ops::Range;

use super::{Backend, EngineError};
use crate::cpu::temporary_bytes;
use crate::gpu::Readback;
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::graph::{Graph, Tensor, ValueId, interp};
use crate::memory::{self, OutOfMemory};
use crate::program::span;

/// Graphs with the memory of their lasting values.
pub(in crate::engine) struct ReferenceBackend {
    graphs: Vec<Graph>,
    /// The ranges of each graph's lasting values.
    ranges: Vec<Vec<Option<MemoryRange>>>,
    /// The words of each region.
    memory: Vec<Vec<u32>>,
    /// Between two parts of a run, what later ones read.
    temporaries: HashMap<ValueId, Tensor>,
    bytes: u64,
}

impl ReferenceBackend {
    /// Lasting values start as zeros.
    ///
    /// # Errors
    /// If there is not as much memory.
    pub(in crate::engine) fn new(
        graphs: Vec<Graph>,
        lasting: &LastingMemory,
    ) -> Result<ReferenceBackend, OutOfMemory> {
        memory::check(needed(&graphs, lasting))?;
        let regions = lasting.regions.iter();
        let memory: Result<_, OutOfMemory> =
            regions.map(|region| memory::zeros(region.words)).collect();
        Ok(ReferenceBackend {
            ranges: graphs.iter().map(|graph| lasting.ranges(graph)).collect(),
            memory: memory?,
            temporaries: HashMap::new(),
            bytes: lasting.bytes(),
            graphs,
        })
    }

    fn words_mut(&mut self, range: MemoryRange) -> &mut [u32] {
        words_mut(&mut self.memory, range)
    }
}

/// Bytes in use during a run: lasting values in single precision and twice in double precision, in
/// [`interp::Store`] and as operands; temporary values in double precision.
pub(in crate::engine) fn needed(graphs: &[Graph], lasting: &LastingMemory) -> u64 {
    5 * lasting.bytes() + 2 * temporary_bytes(graphs)
}

fn words(memory: &[Vec<u32>], range: MemoryRange) -> &[u32] {
    &memory[range.region][range.offset..][..range.words]
}

fn words_mut(memory: &mut [Vec<u32>], range: MemoryRange) -> &mut [u32] {
    &mut memory[range.region][range.offset..][..range.words]
}

impl Backend for ReferenceBackend {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn write(&mut self, range: MemoryRange, words: &[u32]) {
        self.words_mut(range)[..words.len()].copy_from_slice(words);
    }

    fn clear(&mut self, range: MemoryRange) {
        self.words_mut(range).fill(0);
    }

    async fn read(&self, ranges: &[MemoryRange]) -> Result<Vec<Vec<u32>>, EngineError> {
        let ranges = ranges
            .iter()
            .map(|range| words(&self.memory, *range).to_vec());
        Ok(ranges.collect())
    }

    async fn finish_reading(
        &self,
        range: MemoryRange,
        _: Option<&mut Readback>,
        take: impl FnOnce(&[u32]),
    ) -> Result<(), EngineError> {
        take(words(&self.memory, range));
        Ok(())
    }

    fn run(&mut self, graph: usize, parts: Range<usize>) -> Result<(), EngineError> {
        let (graph, ranges) = (&self.graphs[graph], &self.ranges[graph]);
        let lasting = || {
            let values = graph.values.iter().zip(ranges);
            values.filter_map(|(value, range)| Some((value, (*range)?)))
        };
        let mut store: interp::Store = lasting()
            .map(|(value, range)| {
                let tensor = Tensor::from_words(&value.shape, words(&self.memory, range));
                (value.name.clone(), tensor)
            })
            .collect();
        if parts.start == 0 {
            // A run that failed may have left some.
            self.temporaries.clear();
        }
        let all: Vec<Range<usize>> = graph.parts().into_iter().map(|part| part.nodes).collect();
        let nodes = span(&all[parts]);
        interp::run_nodes(graph, nodes, &mut store, &mut self.temporaries)?;
        for (value, range) in lasting() {
            let image = store[&value.name].to_words();
            words_mut(&mut self.memory, range).copy_from_slice(&image);
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), EngineError> {
        Ok(())
    }

    #[cfg(not(target_arch = "wasm32"))]
    async fn time(
        &mut self,
        _graph: usize,
    ) -> Result<Option<Vec<crate::gpu::KernelTime>>, EngineError> {
        Ok(None)
    }
}
