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

mod accumulate;
mod add;
mod adjust_loss_scale;
mod assemble_batch;
mod batch_moments;
mod batch_norm;
mod bias_add;
mod call;
mod column_sum;
mod columns;
mod conv2d;
mod conv2d_grad_input;
mod conv2d_grad_weight;
mod convert;
mod convolution;
mod count_metrics;
mod cross_entropy;
mod dropout;
mod find_overflow;
mod global_average_pool;
mod global_average_pool_grad;
mod lines;
mod loss_scale;
mod max_pool;
mod max_pool_grad;
mod merge_moments;
mod normalize;
mod normalize_grad;
mod normalize_grad_reduce;
#[cfg(not(target_arch = "wasm32"))]
pub mod probe;
mod program;
mod relu;
mod relu_grad;
mod running_average;
mod scale_loss;
mod scratch;
mod sgd;
mod shortcut;
mod shortcut_add;
mod shortcut_grad;
mod simd;
mod softmax_cross_entropy;
mod softmax_cross_entropy_grad;
mod sum_slices;
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
        Cpu::with(by_speed().remove(0))
    }

    /// The same processor with every kind of vector instructions it has, the best first.
    pub fn kinds() -> Vec<Cpu> {
        by_speed().into_iter().map(Cpu::with).collect()
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

/// Every kind of vector instructions that this processor has, the best first.
fn by_speed() -> Vec<Instructions> {
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut, reason = "one kind"))]
    let mut kinds = Instructions::all();
    #[cfg(target_arch = "x86_64")]
    if let [wide, narrow, _] = kinds[..]
        && !probe::as_fast(wide, narrow)
    {
        kinds.swap(0, 1);
    }
    kinds
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
        Op::Accumulate(op) => accumulate::run(cpu, op, call),
        Op::Add(op) => add::run(cpu, op, call),
        Op::AdjustLossScale(op) => adjust_loss_scale::run(cpu, op, call),
        Op::AssembleBatch(op) => assemble_batch::run(cpu, op, call),
        Op::BatchMoments(op) => batch_moments::run(cpu, op, call),
        Op::BiasAdd(op) => bias_add::run(cpu, op, call),
        Op::ColumnSum(op) => column_sum::run(cpu, op, call),
        Op::Conv2d(op) => conv2d::run(cpu, op, call),
        Op::Conv2dGradInput(op) => conv2d_grad_input::run(cpu, op, call),
        Op::Conv2dGradWeight(op) => conv2d_grad_weight::run(cpu, op, call),
        Op::Convert(op) => convert::run(cpu, op, call),
        Op::CountMetrics(op) => count_metrics::run(cpu, op, call),
        Op::Dropout(op) => dropout::run(cpu, op, call),
        Op::FindOverflow(op) => find_overflow::run(cpu, op, call),
        Op::GlobalAveragePool(op) => global_average_pool::run(cpu, op, call),
        Op::GlobalAveragePoolGrad(op) => global_average_pool_grad::run(cpu, op, call),
        Op::MaxPool(op) => max_pool::run(cpu, op, call),
        Op::MaxPoolGrad(op) => max_pool_grad::run(cpu, op, call),
        Op::MergeMoments(op) => merge_moments::run(cpu, op, call),
        Op::Normalize(op) => normalize::run(cpu, op, call),
        Op::NormalizeGrad(op) => normalize_grad::run(cpu, op, call),
        Op::NormalizeGradReduce(op) => normalize_grad_reduce::run(cpu, op, call),
        Op::Relu(op) => relu::run(cpu, op, call),
        Op::ReluGrad(op) => relu_grad::run(cpu, op, call),
        Op::RunningAverage(op) => running_average::run(cpu, op, call),
        Op::ScaleLoss(op) => scale_loss::run(cpu, op, call),
        Op::Sgd(op) => sgd::run(cpu, op, call),
        Op::ShortcutAdd(op) => shortcut_add::run(cpu, op, call),
        Op::ShortcutGrad(op) => shortcut_grad::run(cpu, op, call),
        Op::SoftmaxCrossEntropy(op) => softmax_cross_entropy::run(cpu, op, call),
        Op::SoftmaxCrossEntropyGrad(op) => softmax_cross_entropy_grad::run(cpu, op, call),
        Op::SumSlices(op) => sum_slices::run(cpu, op, call),
    }
}
