//! Graphs with their memory, ready to run.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::Call;
use super::{Cpu, apply};
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::graph::{Graph, Node, Role, ValueId};
use crate::memory::{self, OutOfMemory};
use crate::program::plan::{Interval, Plan, intervals, shared_slots};

/// Graphs with their memory.
#[derive(Debug)]
pub struct LoadedGraphs {
    cpu: Arc<Cpu>,
    graphs: Vec<PlacedGraph>,
    /// The regions of lasting values, then the slots of temporary ones.
    memory: Vec<Vec<u32>>,
    bytes: u64,
}

#[derive(Debug)]
struct PlacedGraph {
    graph: Graph,
    /// Memory of each value; `None` for those that no node uses.
    ranges: Vec<Option<MemoryRange>>,
    /// Ranges that are zeroed at the end of a run.
    clears: Vec<MemoryRange>,
}

impl LoadedGraphs {
    /// Allocates memory for every value of the graphs; lasting values start as zeros.
    ///
    /// # Errors
    /// If there is not as much memory.
    pub fn new(
        cpu: Arc<Cpu>,
        graphs: Vec<Graph>,
        lasting: &LastingMemory,
    ) -> Result<LoadedGraphs, OutOfMemory> {
        let plans = plans(&graphs);
        let slots = shared_slots(&plans);
        let bytes = lasting.bytes() + slots.iter().sum::<u64>();
        memory::check(bytes)?;
        let slots = slots.iter().map(|bytes| *bytes as usize / 4);
        let regions = lasting.regions.iter().map(|region| region.words);
        let memory: Result<_, OutOfMemory> = regions.chain(slots).map(memory::zeros).collect();
        Ok(LoadedGraphs {
            cpu,
            memory: memory?,
            bytes,
            graphs: graphs
                .into_iter()
                .zip(&plans)
                .map(|(graph, plan)| PlacedGraph::new(graph, plan, lasting))
                .collect(),
        })
    }

    /// Bytes of all lasting values and slots, without alignment padding.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The words of a range of lasting values.
    pub fn words(&self, range: MemoryRange) -> &[u32] {
        &self.memory[range.region][range.offset..][..range.words]
    }

    /// The words of a range of lasting values, mutably.
    pub fn words_mut(&mut self, range: MemoryRange) -> &mut [u32] {
        &mut self.memory[range.region][range.offset..][..range.words]
    }

    /// Runs the `index`th graph; calls `done` after each node.
    pub fn run(&mut self, index: usize, mut done: impl FnMut() + Send) {
        let LoadedGraphs {
            cpu,
            graphs,
            memory,
            ..
        } = self;
        let placed = &graphs[index];
        // Entering the pool once saves a hand-over to it for every parallel loop.
        rayon::scope(|_| {
            for node in &placed.graph.nodes {
                run_node(cpu, placed, node, memory);
                done();
            }
        });
        for range in &placed.clears {
            memory[range.region][range.offset..][..range.words].fill(0);
        }
    }
}

impl PlacedGraph {
    fn new(graph: Graph, plan: &Plan, lasting: &LastingMemory) -> PlacedGraph {
        let mut ranges = lasting.ranges(&graph);
        for (value, slot) in plan.slot_of.iter().enumerate() {
            if let Some(slot) = slot {
                ranges[value] = Some(MemoryRange {
                    region: lasting.regions.len() + slot,
                    offset: 0,
                    words: graph.shape(ValueId(value)).bytes() as usize / 4,
                });
            }
        }
        let clears = graph.clears.iter();
        PlacedGraph {
            clears: clears.filter_map(|arena| lasting.arena(*arena)).collect(),
            graph,
            ranges,
        }
    }
}

/// Bytes of the slots that hold the temporary values of graphs which are loaded together.
pub fn temporary_bytes(graphs: &[Graph]) -> u64 {
    shared_slots(&plans(graphs)).iter().sum()
}

fn plans(graphs: &[Graph]) -> Vec<Plan> {
    graphs.iter().map(|graph| Plan::of(&uses(graph))).collect()
}

/// Live interval of each temporary value, in nodes.
fn uses(graph: &Graph) -> Vec<Option<Interval>> {
    let values = graph.values.iter();
    let bytes: Vec<Option<u64>> = values
        .map(|value| (value.role == Role::Temporary).then(|| value.shape.bytes()))
        .collect();
    let nodes = graph.nodes.iter();
    let operands = |node: &'_ Node| {
        let all = node.inputs.iter().chain(&node.outputs);
        all.map(|id| id.0).collect::<Vec<_>>()
    };
    intervals(&bytes, nodes.map(operands))
}

/// Runs one node.
fn run_node(cpu: &Cpu, placed: &PlacedGraph, node: &Node, memory: &mut [Vec<u32>]) {
    let PlacedGraph { graph, ranges, .. } = placed;
    let range = |id: &ValueId| ranges[id.0].expect("values of nodes have places");
    // Regions that the node writes are moved out of `memory` and split into its operands; the
    // others are borrowed in place.
    let mut written: Vec<usize> = node.outputs.iter().map(|id| range(id).region).collect();
    written.sort_unstable();
    written.dedup();
    let mut taken: Vec<Vec<u32>> = written
        .iter()
        .map(|region| std::mem::take(&mut memory[*region]))
        .collect();
    let mut cuts: Vec<(usize, usize, ValueId)> = node
        .inputs
        .iter()
        .chain(&node.outputs)
        .map(|id| (range(id).region, range(id).offset, *id))
        .filter(|(region, ..)| written.binary_search(region).is_ok())
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces: HashMap<ValueId, &mut [u32]> = HashMap::new();
    for (region, words) in written.iter().zip(&mut taken) {
        let (mut rest, mut start) = (words.as_mut_slice(), 0);
        for (_, offset, id) in cuts.iter().filter(|cut| cut.0 == *region) {
            let words = range(id).words;
            let (piece, after) = rest.split_at_mut(offset - start).1.split_at_mut(words);
            pieces.insert(*id, piece);
            (rest, start) = (after, offset + words);
        }
    }
    let results = node
        .outputs
        .iter()
        .map(|id| {
            pieces
                .remove(id)
                .expect("outputs lie in regions of their own")
        })
        .collect();
    let inputs = node
        .inputs
        .iter()
        .map(|id| {
            let MemoryRange {
                region,
                offset,
                words,
            } = range(id);
            match pieces.get(id) {
                Some(piece) => &**piece,
                // A value updated in place is among the results only.
                None if written.contains(&region) => &[],
                None => &memory[region][offset..offset + words],
            }
        })
        .collect();
    apply(cpu, &node.op, Call::new(graph, node, inputs, results));
    for (region, words) in written.into_iter().zip(taken) {
        memory[region] = words;
    }
}
