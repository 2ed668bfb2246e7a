//! Graphs with their memory, ready to run.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::call::{Call, PackedWeights};
use super::{Cpu, apply, conv2d};
use crate::graph::lasting::{LastingMemory, MemoryRange};
use crate::graph::{Graph, Node, Op, Role, ValueId};
use crate::memory::{self, OutOfMemory};
use crate::program::plan::{Interval, Plan, intervals, shared_slots};
use crate::program::span;

/// Graphs with their memory.
#[derive(Debug)]
pub struct LoadedGraphs {
    cpu: Arc<Cpu>,
    graphs: Vec<PlacedGraph>,
    /// The regions of lasting values, then the slots of temporary ones.
    memory: Vec<Vec<u32>>,
    /// How often each of them has been written.
    writes: Vec<u64>,
    bytes: u64,
}

#[derive(Debug)]
struct PlacedGraph {
    graph: Graph,
    /// The nodes of [`Graph::parts`].
    parts: Vec<Range<usize>>,
    /// Memory of each value; `None` for those that no node uses.
    ranges: Vec<Option<MemoryRange>>,
    /// Ranges that are zeroed at the end of a run.
    clears: Vec<MemoryRange>,
    /// For each node, its packed weights if they are kept from run to run.
    packed: Vec<Option<Packed>>,
}

/// Packed weights of a convolution that no node of its graph writes.
#[derive(Debug)]
struct Packed {
    /// Region of the weights, and its count of writes when they were packed; `None` before.
    region: usize,
    writes: Option<u64>,
    numbers: Vec<f32>,
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
        let bytes =
            lasting.bytes() + slots.iter().sum::<u64>() + packed_bytes(&cpu, &graphs, lasting);
        memory::check(bytes)?;
        let slots = slots.iter().map(|bytes| *bytes as usize / 4);
        let regions = lasting.regions.iter().map(|region| region.words);
        let memory: Result<Vec<_>, OutOfMemory> = regions.chain(slots).map(memory::zeros).collect();
        let memory = memory?;
        let graphs: Result<Vec<_>, OutOfMemory> = graphs
            .into_iter()
            .zip(&plans)
            .map(|(graph, plan)| PlacedGraph::new(&cpu, graph, plan, lasting))
            .collect();
        Ok(LoadedGraphs {
            graphs: graphs?,
            cpu,
            writes: vec![0; memory.len()],
            memory,
            bytes,
        })
    }

    /// Bytes of all lasting values, slots and kept packed weights, without alignment padding.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The words of a range of lasting values.
    pub fn words(&self, range: MemoryRange) -> &[u32] {
        &self.memory[range.region][range.offset..][..range.words]
    }

    /// The words of a range of lasting values, mutably.
    pub fn words_mut(&mut self, range: MemoryRange) -> &mut [u32] {
        self.writes[range.region] += 1;
        &mut self.memory[range.region][range.offset..][..range.words]
    }

    /// Number of parts of the `index`th graph.
    pub fn parts(&self, index: usize) -> usize {
        self.graphs[index].parts.len()
    }

    /// Runs some parts of the `index`th graph; calls `done` after each node.
    pub fn run(&mut self, index: usize, parts: Range<usize>, mut done: impl FnMut() + Send) {
        let LoadedGraphs {
            cpu,
            graphs,
            memory,
            writes,
            ..
        } = self;
        let placed = &mut graphs[index];
        // Entering the pool once saves a hand-over to it for every parallel loop.
        rayon::scope(|_| {
            for node in span(&placed.parts[parts.clone()]) {
                run_node(cpu, placed, node, memory, writes);
                done();
            }
        });
        if parts.end < placed.parts.len() {
            return;
        }
        for range in &placed.clears {
            writes[range.region] += 1;
            memory[range.region][range.offset..][..range.words].fill(0);
        }
    }
}

impl PlacedGraph {
    fn new(
        cpu: &Cpu,
        graph: Graph,
        plan: &Plan,
        lasting: &LastingMemory,
    ) -> Result<PlacedGraph, OutOfMemory> {
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
        let packed = kept_weights(cpu, &graph, lasting).map(|kept| {
            kept.map(|(region, len)| {
                Ok(Packed {
                    region,
                    writes: None,
                    numbers: memory::zeros(len)?,
                })
            })
            .transpose()
        });
        let clears = graph.clears.iter();
        Ok(PlacedGraph {
            packed: packed.collect::<Result<_, OutOfMemory>>()?,
            clears: clears.filter_map(|arena| lasting.arena(*arena)).collect(),
            parts: graph.parts().into_iter().map(|part| part.nodes).collect(),
            graph,
            ranges,
        })
    }
}

/// For each node, the region of its weights and the length of the packed ones, if it is a
/// convolution whose weights outlive a run and no node of the graph writes them.
fn kept_weights<'a>(
    cpu: &'a Cpu,
    graph: &'a Graph,
    lasting: &LastingMemory,
) -> impl Iterator<Item = Option<(usize, usize)>> + 'a {
    let ranges = lasting.ranges(graph);
    let mut written = vec![false; lasting.regions.len()];
    let results = graph.nodes.iter().flat_map(|node| &node.outputs);
    for range in results.filter_map(|id| ranges[id.0]) {
        written[range.region] = true;
    }
    graph.nodes.iter().map(move |node| {
        let Op::Conv2d(op) = &node.op else {
            return None;
        };
        let region = ranges[op.inputs(&node.inputs).w.0]?.region;
        (!written[region]).then(|| (region, conv2d::packed_len(cpu, op, graph, node)))
    })
}

/// Bytes of all kept packed weights.
fn packed_bytes(cpu: &Cpu, graphs: &[Graph], lasting: &LastingMemory) -> u64 {
    let graphs = graphs.iter();
    let kept = graphs.flat_map(|graph| kept_weights(cpu, graph, lasting).flatten());
    kept.map(|(_, len)| 4 * len as u64).sum()
}

/// Bytes that graphs need which are loaded together: lasting values, slots, kept packed weights.
pub fn needed_bytes(cpu: &Cpu, graphs: &[Graph], lasting: &LastingMemory) -> u64 {
    lasting.bytes() + temporary_bytes(graphs) + packed_bytes(cpu, graphs, lasting)
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
fn run_node(
    cpu: &Cpu,
    placed: &mut PlacedGraph,
    node: usize,
    memory: &mut [Vec<u32>],
    writes: &mut [u64],
) {
    let PlacedGraph {
        graph,
        ranges,
        packed,
        ..
    } = placed;
    let packed = packed[node].as_mut().map(|packed| {
        let now = Some(writes[packed.region]);
        let current = packed.writes == now;
        packed.writes = now;
        PackedWeights {
            numbers: &mut packed.numbers,
            current,
        }
    });
    let node = &graph.nodes[node];
    let range = |id: &ValueId| ranges[id.0].expect("values of nodes have places");
    // Regions that the node writes are moved out of `memory` and split into its operands; the
    // others are borrowed in place.
    let mut written: Vec<usize> = node.outputs.iter().map(|id| range(id).region).collect();
    written.sort_unstable();
    written.dedup();
    for region in &written {
        writes[*region] += 1;
    }
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
    apply(
        cpu,
        &node.op,
        Call::new(graph, node, inputs, results, packed),
    );
    for (region, words) in written.into_iter().zip(taken) {
        memory[region] = words;
    }
}
