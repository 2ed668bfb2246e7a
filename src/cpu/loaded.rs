//! Graphs with their memory, ready to run.

use std::collections::HashMap;
use std::sync::Arc;

use super::call::Call;
use super::{Cpu, apply};
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::graph::{Graph, Node, Role, ValueId};
use crate::program::plan::{Interval, Plan, intervals};

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
    /// Where each value lies; `None` for those that no node uses.
    ranges: Vec<Option<MemoryRange>>,
    /// What a run fills with zeros in the end.
    clears: Vec<MemoryRange>,
}

impl LoadedGraphs {
    /// Gives every value of some graphs a place; lasting ones begin as zeros.
    pub fn new(cpu: Arc<Cpu>, graphs: Vec<Graph>, lasting: &LastingMemory) -> LoadedGraphs {
        let plans: Vec<Plan> = graphs.iter().map(|graph| Plan::of(&uses(graph))).collect();
        let mut slots: Vec<usize> = Vec::new();
        for plan in &plans {
            slots.resize(slots.len().max(plan.slots.len()), 0);
            for (slot, bytes) in slots.iter_mut().zip(&plan.slots) {
                *slot = (*slot).max(*bytes as usize / 4);
            }
        }
        let temporary: usize = slots.iter().sum();
        let regions = lasting.regions.iter().map(|region| region.words);
        LoadedGraphs {
            cpu,
            memory: regions.chain(slots).map(|words| vec![0; words]).collect(),
            bytes: lasting.bytes() + 4 * temporary as u64,
            graphs: graphs
                .into_iter()
                .zip(&plans)
                .map(|(graph, plan)| PlacedGraph::new(graph, plan, lasting))
                .collect(),
        }
    }

    /// Bytes of all values, without what aligns them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Words of lasting values.
    pub fn words(&self, range: MemoryRange) -> &[u32] {
        &self.memory[range.region][range.offset..][..range.words]
    }

    /// The same, to be written.
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
        // On a thread of the pool: from outside every parallel loop would wait for one.
        rayon::scope(|_| {
            for node in &placed.graph.nodes {
                step(cpu, placed, node, memory);
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

/// From which to which node each temporary value lives.
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
fn step(cpu: &Cpu, placed: &PlacedGraph, node: &Node, memory: &mut [Vec<u32>]) {
    let PlacedGraph { graph, ranges, .. } = placed;
    let range = |id: &ValueId| ranges[id.0].expect("values of nodes have places");
    // Regions that the node writes are taken out and cut into its operands; the others can be
    // read where they are.
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
            let (piece, behind) = rest.split_at_mut(offset - start).1.split_at_mut(words);
            pieces.insert(*id, piece);
            (rest, start) = (behind, offset + words);
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
                // What the node updates is gone: it is among the results only.
                None => memory[region].get(offset..offset + words).unwrap_or(&[]),
            }
        })
        .collect();
    apply(cpu, &node.op, Call::new(graph, node, inputs, results));
    for (region, words) in written.into_iter().zip(taken) {
        memory[region] = words;
    }
}
