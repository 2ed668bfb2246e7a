//! Graphs by the plain reference beside each operator.
//!
//! It computes in double precision; what lasts is rounded to `f32` at the end of a run.

use super::{Backend, EngineError};
use crate::graph::lasting::{LastingMemory, Part};
use crate::graph::{Graph, Tensor, interp};

/// Graphs with memory images of their lasting values.
pub(in crate::engine) struct ReferenceBackend {
    graphs: Vec<Graph>,
    /// Where the lasting values of each graph lie.
    parts: Vec<Vec<Option<Part>>>,
    /// The regions.
    memory: Vec<Vec<u32>>,
    bytes: u64,
}

impl ReferenceBackend {
    /// Lasting values begin as zeros.
    pub(in crate::engine) fn new(graphs: Vec<Graph>, lasting: &LastingMemory) -> ReferenceBackend {
        let regions = lasting.regions.iter();
        ReferenceBackend {
            parts: graphs.iter().map(|graph| lasting.parts(graph)).collect(),
            memory: regions.map(|region| vec![0; region.words]).collect(),
            bytes: lasting.bytes(),
            graphs,
        }
    }

    fn words_mut(&mut self, part: Part) -> &mut [u32] {
        words_mut(&mut self.memory, part)
    }
}

fn words(memory: &[Vec<u32>], part: Part) -> &[u32] {
    &memory[part.region][part.offset..][..part.words]
}

fn words_mut(memory: &mut [Vec<u32>], part: Part) -> &mut [u32] {
    &mut memory[part.region][part.offset..][..part.words]
}

impl Backend for ReferenceBackend {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn write(&mut self, part: Part, words: &[u32]) {
        self.words_mut(part)[..words.len()].copy_from_slice(words);
    }

    fn clear(&mut self, part: Part) {
        self.words_mut(part).fill(0);
    }

    async fn read(&self, parts: &[Part]) -> Result<Vec<Vec<u32>>, EngineError> {
        let parts = parts.iter().map(|part| words(&self.memory, *part).to_vec());
        Ok(parts.collect())
    }

    fn run(&mut self, graph: usize) -> Result<(), EngineError> {
        let (graph, parts) = (&self.graphs[graph], &self.parts[graph]);
        let lasting = || {
            let values = graph.values.iter().zip(parts);
            values.filter_map(|(value, part)| Some((value, (*part)?)))
        };
        let mut store: interp::Store = lasting()
            .map(|(value, part)| {
                let tensor = Tensor::from_words(&value.shape, words(&self.memory, part));
                (value.name.clone(), tensor)
            })
            .collect();
        interp::run(graph, &mut store)?;
        for (value, part) in lasting() {
            let image = store[&value.name].to_words();
            words_mut(&mut self.memory, part).copy_from_slice(&image);
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
