//! The CPU device: runs graphs in single precision with vector instructions, on all cores.
//!
//! It computes what the kernels compute on a GPU, from the same graph and in the same layout
//! of memory; results agree to rounding.
//! A [`LoadedGraphs`] holds some graphs with all their memory: lasting values in regions
//! ([`crate::graph::lasting`]), temporary ones in slots by the plan that programs use as well
//! ([`crate::program::plan`]).
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
mod loaded;
mod loss;
mod pointwise;
mod pooling;
#[cfg(not(target_arch = "wasm32"))]
pub mod probe;
mod scratch;
mod simd;
mod tile;

use crate::graph::Op;
use call::Call;
pub use loaded::LoadedGraphs;
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

/// Computes one node.
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
