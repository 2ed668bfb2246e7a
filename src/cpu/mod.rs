//! The CPU device: runs graphs in single precision with vector instructions, on all cores.
//!
//! It computes what the GPU kernels compute, from the same graph and in the same memory layout;
//! results agree to rounding.
//! A [`LoadedGraphs`] holds graphs with all their memory: lasting values in regions
//! ([`crate::graph::lasting`]), temporary ones in slots, planned as for GPU programs
//! ([`crate::program::plan`]).
//! Reductions are partitioned by tensor sizes, never by thread count or vector width, so one
//! processor gives the same bits every time.
//!
//! Convolutions accumulate tiles in vector registers (`tile.rs`), directly or, for windows of 3x3
//! with stride 1, by Winograd's algorithm (`convolution`); which of them depends on sizes only.
//! Everything else is a loop over vectors (`columns.rs`).

mod accumulate;
mod add;
mod adjust_loss_scale;
mod assemble_batch;
mod average_weights;
mod batch_moments;
mod batch_norm;
mod bias_add;
mod call;
mod clip_factor;
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
mod erase;
mod find_overflow;
mod global_average_pool;
mod global_average_pool_grad;
mod lines;
mod loaded;
mod loss_scale;
mod max_pool;
mod max_pool_grad;
mod merge_moments;
mod mix_batch;
mod normalize;
mod normalize_grad;
mod normalize_grad_reduce;
#[cfg(not(target_arch = "wasm32"))]
pub mod probe;
mod relu;
mod relu_grad;
mod running_average;
mod scale_branch;
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
mod transform_images;

use crate::graph::Op;
use call::Call;
pub use loaded::{LoadedGraphs, needed_bytes, temporary_bytes};
use scratch::Scratch;
use simd::Instructions;

/// This machine's processor.
#[derive(Debug)]
pub struct Cpu {
    instructions: Instructions,
    /// f32 lanes of a vector.
    lanes: usize,
    /// Maximum number of vectors in a group of channels.
    widest: usize,
    threads: usize,
    scratch: Scratch,
}

impl Cpu {
    /// Detects the processor's fastest vector instructions.
    pub fn detect() -> Cpu {
        Cpu::with(by_speed().remove(0))
    }

    /// The processor once for each vector instruction set it supports, the fastest first.
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

    /// Display name of the vector instruction set.
    pub fn instructions(&self) -> &'static str {
        self.instructions.name()
    }

    /// Number of threads that run a graph.
    pub fn threads(&self) -> usize {
        self.threads
    }
}

/// Every vector instruction set of this processor, the fastest first.
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

/// Runs one node.
fn apply(cpu: &Cpu, op: &Op, call: Call<'_>) {
    match op {
        Op::Accumulate(op) => accumulate::run(cpu, op, call),
        Op::Add(op) => add::run(cpu, op, call),
        Op::AdjustLossScale(op) => adjust_loss_scale::run(cpu, op, call),
        Op::AllReduce(_) => unreachable!("it lies between two parts of a graph"),
        Op::AssembleBatch(op) => assemble_batch::run(cpu, op, call),
        Op::AverageWeights(op) => average_weights::run(cpu, op, call),
        Op::BatchMoments(op) => batch_moments::run(cpu, op, call),
        Op::BiasAdd(op) => bias_add::run(cpu, op, call),
        Op::ClipFactor(op) => clip_factor::run(cpu, op, call),
        Op::ColumnSum(op) => column_sum::run(cpu, op, call),
        Op::Conv2d(op) => conv2d::run(cpu, op, call),
        Op::Conv2dGradInput(op) => conv2d_grad_input::run(cpu, op, call),
        Op::Conv2dGradWeight(op) => conv2d_grad_weight::run(cpu, op, call),
        Op::Convert(op) => convert::run(cpu, op, call),
        Op::CountMetrics(op) => count_metrics::run(cpu, op, call),
        Op::Dropout(op) => dropout::run(cpu, op, call),
        Op::Erase(op) => erase::run(cpu, op, call),
        Op::FindOverflow(op) => find_overflow::run(cpu, op, call),
        Op::GlobalAveragePool(op) => global_average_pool::run(cpu, op, call),
        Op::GlobalAveragePoolGrad(op) => global_average_pool_grad::run(cpu, op, call),
        Op::MaxPool(op) => max_pool::run(cpu, op, call),
        Op::MaxPoolGrad(op) => max_pool_grad::run(cpu, op, call),
        Op::MergeMoments(op) => merge_moments::run(cpu, op, call),
        Op::MixBatch(op) => mix_batch::run(cpu, op, call),
        Op::Normalize(op) => normalize::run(cpu, op, call),
        Op::NormalizeGrad(op) => normalize_grad::run(cpu, op, call),
        Op::NormalizeGradReduce(op) => normalize_grad_reduce::run(cpu, op, call),
        Op::Relu(op) => relu::run(cpu, op, call),
        Op::ReluGrad(op) => relu_grad::run(cpu, op, call),
        Op::RunningAverage(op) => running_average::run(cpu, op, call),
        Op::ScaleBranch(op) => scale_branch::run(cpu, op, call),
        Op::ScaleLoss(op) => scale_loss::run(cpu, op, call),
        Op::Sgd(op) => sgd::run(cpu, op, call),
        Op::ShortcutAdd(op) => shortcut_add::run(cpu, op, call),
        Op::ShortcutGrad(op) => shortcut_grad::run(cpu, op, call),
        Op::SoftmaxCrossEntropy(op) => softmax_cross_entropy::run(cpu, op, call),
        Op::SoftmaxCrossEntropyGrad(op) => softmax_cross_entropy_grad::run(cpu, op, call),
        Op::SumSlices(op) => sum_slices::run(cpu, op, call),
        Op::TransformImages(op) => transform_images::run(cpu, op, call),
    }
}
