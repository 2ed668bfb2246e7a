//! The CPU device: runs graphs in single precision with vector instructions, on all cores.
//!
//! It computes what the kernels compute on a GPU, from the same graph and in the same layout
//! of memory; results agree to rounding.
//! A [`LoadedGraphs`] holds some graphs with all their memory: lasting values by name, temporary
//! ones in slots by the plan that programs use as well ([`crate::program::plan`]).
//! Sums over many numbers are divided by sizes, never by the number of threads or the width of
//! vectors, so one processor gives the same bits every time.
//!
//! Convolutions are sums kept in vector registers, tile by tile (`tile.rs`); everything else
//! is a loop that the compiler vectorises (`columns.rs`).

mod batch_norm;
mod call;
mod columns;
mod conv2d;
mod conv2d_weights;
mod input;
mod loss;
mod pointwise;
mod pooling;
#[cfg(not(target_arch = "wasm32"))]
pub mod probe;
mod program;
mod scratch;
mod simd;
mod tile;

use std::collections::HashMap;

use crate::graph::{Graph, Node, Op, Role};
use crate::program::Program;
use crate::program::plan::Plan;
use call::Call;
pub use program::program;
use scratch::Scratch;
use simd::Instructions;

/// This machine's processor.
#[derive(Debug)]
pub struct Cpu {
    instructions: Instructions,
    /// Numbers in a vector.
    lanes: usize,
    /// Most vectors in a group of channels.
    widest: usize,
    threads: usize,
    scratch: Scratch,
}

impl Cpu {
    /// Finds out what the processor can do.
    pub fn detect() -> Cpu {
        let best = Instructions::all().remove(0);
        Cpu::with(best)
    }

    /// The same processor with every kind of vector instructions it has, the best first.
    pub fn kinds() -> Vec<Cpu> {
        Instructions::all().into_iter().map(Cpu::with).collect()
    }

    fn with(instructions: Instructions) -> Cpu {
        let (lanes, registers) = instructions.sizes();
        Cpu {
            instructions,
            lanes,
            widest: tile::widest(registers),
            threads: rayon::current_num_threads(),
            scratch: Scratch::default(),
        }
    }

    /// Kind of vector instructions, for people.
    pub fn instructions(&self) -> &'static str {
        self.instructions.name()
    }

    /// Threads that work on a graph.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

/// Graphs with their memory.
#[derive(Debug)]
pub struct LoadedGraphs {
    /// Where the values of each graph lie.
    places: Vec<Vec<Option<usize>>>,
    memory: Vec<Vec<u32>>,
    /// Place of each lasting value.
    lasting: HashMap<String, usize>,
}

impl LoadedGraphs {
    /// Gives every value of some graphs a place; lasting ones begin as zeros.
    ///
    /// `programs` are those that [`program`] makes of the graphs.
    pub fn new(graphs: &[Graph], programs: &[Program]) -> LoadedGraphs {
        let mut loaded = LoadedGraphs {
            places: Vec::new(),
            memory: Vec::new(),
            lasting: HashMap::new(),
        };
        for value in graphs.iter().flat_map(|graph| &graph.values) {
            if value.role != Role::Temporary {
                let memory = &mut loaded.memory;
                let place = *loaded.lasting.entry(value.name.clone()).or_insert_with(|| {
                    memory.push(Vec::new());
                    memory.len() - 1
                });
                loaded.reserve(place, value.shape.stored_len());
            }
        }
        let first_slot = loaded.memory.len();
        for (graph, program) in graphs.iter().zip(programs) {
            let places = loaded.place(graph, &Plan::new(program), first_slot);
            loaded.places.push(places);
        }
        loaded
    }

    /// Places of a graph's values; slots are shared by all graphs.
    fn place(&mut self, graph: &Graph, plan: &Plan, first_slot: usize) -> Vec<Option<usize>> {
        for (slot, bytes) in plan.slots.iter().enumerate() {
            if self.memory.len() == first_slot + slot {
                self.memory.push(Vec::new());
            }
            self.reserve(first_slot + slot, *bytes as usize / 4);
        }
        let values = graph.values.iter().zip(&plan.slot_of);
        values
            .map(|(value, slot)| match value.role {
                Role::Temporary => slot.map(|slot| first_slot + slot),
                _ => Some(self.lasting[&value.name]),
            })
            .collect()
    }

    fn reserve(&mut self, place: usize, words: usize) {
        let memory = &mut self.memory[place];
        memory.resize(memory.len().max(words), 0);
    }

    /// Bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.memory.iter().map(|words| 4 * words.len() as u64).sum()
    }

    /// All words of a lasting value; a graph may use fewer of them.
    ///
    /// # Panics
    /// If no graph has such a value.
    pub fn words(&self, name: &str) -> &[u32] {
        &self.memory[self.lasting[name]]
    }

    /// The same, to be written.
    ///
    /// # Panics
    /// As [`LoadedGraphs::words`].
    pub fn words_mut(&mut self, name: &str) -> &mut [u32] {
        &mut self.memory[self.lasting[name]]
    }

    /// Runs a graph, the `index`th that was loaded; `done` hears of each node's end.
    pub fn run(
        &mut self,
        cpu: &Cpu,
        graph: &Graph,
        index: usize,
        mut done: impl FnMut(&Node) + Send,
    ) {
        let LoadedGraphs { places, memory, .. } = self;
        let places = &places[index];
        // On a thread of the pool: from outside every parallel loop would wait for one.
        rayon::scope(|_| {
            for node in &graph.nodes {
                step(cpu, graph, node, places, memory);
                done(node);
            }
        });
    }
}

/// Runs one node.
fn step(cpu: &Cpu, graph: &Graph, node: &Node, places: &[Option<usize>], memory: &mut [Vec<u32>]) {
    let place = |id: &crate::graph::ValueId| places[id.0].expect("values of nodes have places");
    let mut taken: Vec<Vec<u32>> = node
        .outputs
        .iter()
        .map(|id| std::mem::take(&mut memory[place(id)]))
        .collect();
    let inputs = node
        .inputs
        .iter()
        .map(|id| match node.outputs.contains(id) {
            true => &[][..],
            false => &memory[place(id)][..graph.shape(*id).stored_len()],
        })
        .collect();
    let results = taken
        .iter_mut()
        .zip(&node.outputs)
        .map(|(words, id)| &mut words[..graph.shape(*id).stored_len()])
        .collect();
    apply(cpu, &node.op, Call::new(graph, node, inputs, results));
    for (id, words) in node.outputs.iter().zip(taken) {
        memory[place(id)] = words;
    }
}

fn apply(cpu: &Cpu, op: &Op, call: Call<'_>) {
    match op {
        Op::Accumulate(_) => pointwise::accumulate(cpu, call),
        Op::Add(_) => pointwise::add(cpu, call),
        Op::AdjustLossScale(_) => loss::adjust_scale(call),
        Op::AssembleBatch(op) => input::assemble_batch(op, call),
        Op::BatchMoments(op) => batch_norm::moments(cpu, op, call),
        Op::BiasAdd(_) => pointwise::bias_add(cpu, call),
        Op::ColumnSum(_) => pointwise::column_sum(call),
        Op::Conv2d(op) => conv2d::forward(cpu, op, call),
        Op::Conv2dGradInput(op) => conv2d::grad_input(cpu, op, call),
        Op::Conv2dGradWeight(op) => conv2d_weights::grad_weight(cpu, op, call),
        Op::Convert(_) => pointwise::copy(call),
        Op::CountMetrics(_) => loss::count_metrics(call),
        Op::Dropout(op) => input::dropout(cpu, op, call),
        Op::FindOverflow(_) => loss::find_overflow(call),
        Op::GlobalAveragePool(_) => pooling::global_average(cpu, call),
        Op::GlobalAveragePoolGrad(_) => pooling::global_average_grad(cpu, call),
        Op::MaxPool(op) => pooling::max_pool(cpu, op, call),
        Op::MaxPoolGrad(op) => pooling::max_pool_grad(op, call),
        Op::Normalize(op) => batch_norm::normalize(cpu, op, call),
        Op::NormalizeGrad(op) => batch_norm::grad(cpu, op, call),
        Op::NormalizeGradReduce(op) => batch_norm::grad_reduce(cpu, op, call),
        Op::Relu(_) => pointwise::relu(cpu, call),
        Op::ReluGrad(_) => pointwise::relu_grad(cpu, call),
        Op::RunningAverage(op) => batch_norm::running_average(op, call),
        Op::ScaleLoss(_) => loss::scale(call),
        Op::Sgd(op) => pointwise::sgd(cpu, op, call),
        Op::ShortcutAdd(op) => pooling::shortcut_add(cpu, op, call),
        Op::ShortcutGrad(op) => pooling::shortcut_grad(cpu, op, call),
        Op::SoftmaxCrossEntropy(_) => loss::cross_entropy(call),
        Op::SoftmaxCrossEntropyGrad(_) => loss::cross_entropy_grad(call),
    }
}
