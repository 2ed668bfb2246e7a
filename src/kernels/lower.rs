//! Lowers a graph to a program: the dispatches of every node.

use std::collections::HashSet;

use super::lowering::{LowerError, Lowered, Lowering};
use super::{Choices, Target};
use super::{
    accumulate, add, adjust_loss_scale, assemble_batch, average_weights, batch_moments, bias_add,
    clip_factor, column_sum, conv2d, conv2d_grad_input, conv2d_grad_weight, convert, count_metrics,
    dropout, erase, find_overflow, global_average_pool, global_average_pool_grad, max_pool,
    max_pool_grad, merge_moments, mix_batch, normalize, normalize_grad, normalize_grad_reduce,
    relu, relu_grad, running_average, scale_branch, scale_loss, sgd, shortcut_add, shortcut_grad,
    softmax_cross_entropy, softmax_cross_entropy_grad, sum_slices, transform_images,
};
use crate::graph::{Graph, Op, PartEnd};

/// Lowers a graph for a target.
///
/// # Errors
/// If a tensor exceeds the target's limits, or a choice names a kernel that cannot run.
pub fn lower(graph: &Graph, target: &Target, choices: &Choices) -> Result<Lowered, LowerError> {
    let mut lowering = Lowering::new(graph, target, choices)?;
    // The last part ends with the program.
    let parts = graph.parts();
    let ends = parts
        .iter()
        .rev()
        .skip(1)
        .filter_map(|part| match part.end {
            PartEnd::Reduction(node) | PartEnd::Sums(node) => Some(node),
            PartEnd::Nothing => None,
        });
    let ends: HashSet<usize> = ends.collect();
    for (number, node) in graph.nodes.iter().enumerate() {
        lowering.number = number;
        sum_slices::launch_deferred(&mut lowering, Some(node));
        match &node.op {
            Op::Accumulate(op) => accumulate::lower(&mut lowering, op, node),
            Op::Add(op) => add::lower(&mut lowering, op, node),
            Op::AdjustLossScale(op) => adjust_loss_scale::lower(&mut lowering, op, node),
            Op::AllReduce(_) => Ok(()),
            Op::AssembleBatch(op) => assemble_batch::lower(&mut lowering, op, node),
            Op::AverageWeights(op) => average_weights::lower(&mut lowering, op, node),
            Op::BatchMoments(op) => batch_moments::lower(&mut lowering, op, node),
            Op::BiasAdd(op) => bias_add::lower(&mut lowering, op, node),
            Op::ClipFactor(op) => clip_factor::lower(&mut lowering, op, node),
            Op::ColumnSum(op) => column_sum::lower(&mut lowering, op, node),
            Op::Conv2d(op) => conv2d::lower(&mut lowering, op, node),
            Op::Conv2dGradInput(op) => conv2d_grad_input::lower(&mut lowering, op, node),
            Op::Conv2dGradWeight(op) => conv2d_grad_weight::lower(&mut lowering, op, node),
            Op::Convert(op) => convert::lower(&mut lowering, op, node),
            Op::CountMetrics(op) => count_metrics::lower(&mut lowering, op, node),
            Op::Dropout(op) => dropout::lower(&mut lowering, op, node),
            Op::Erase(op) => erase::lower(&mut lowering, op, node),
            Op::FindOverflow(op) => find_overflow::lower(&mut lowering, op, node),
            Op::GlobalAveragePool(op) => global_average_pool::lower(&mut lowering, op, node),
            Op::GlobalAveragePoolGrad(op) => {
                global_average_pool_grad::lower(&mut lowering, op, node)
            }
            Op::MaxPool(op) => max_pool::lower(&mut lowering, op, node),
            Op::MaxPoolGrad(op) => max_pool_grad::lower(&mut lowering, op, node),
            Op::MergeMoments(op) => merge_moments::lower(&mut lowering, op, node),
            Op::MixBatch(op) => mix_batch::lower(&mut lowering, op, node),
            Op::Normalize(op) => normalize::lower(&mut lowering, op, node),
            Op::NormalizeGrad(op) => normalize_grad::lower(&mut lowering, op, node),
            Op::NormalizeGradReduce(op) => normalize_grad_reduce::lower(&mut lowering, op, node),
            Op::Relu(op) => relu::lower(&mut lowering, op, node),
            Op::ReluGrad(op) => relu_grad::lower(&mut lowering, op, node),
            Op::RunningAverage(op) => running_average::lower(&mut lowering, op, node),
            Op::ScaleBranch(op) => scale_branch::lower(&mut lowering, op, node),
            Op::ScaleLoss(op) => scale_loss::lower(&mut lowering, op, node),
            Op::Sgd(op) => sgd::lower(&mut lowering, op, node),
            Op::ShortcutAdd(op) => shortcut_add::lower(&mut lowering, op, node),
            Op::ShortcutGrad(op) => shortcut_grad::lower(&mut lowering, op, node),
            Op::SoftmaxCrossEntropy(op) => softmax_cross_entropy::lower(&mut lowering, op, node),
            Op::SoftmaxCrossEntropyGrad(op) => {
                softmax_cross_entropy_grad::lower(&mut lowering, op, node)
            }
            Op::SumSlices(op) => sum_slices::lower(&mut lowering, op, node),
            Op::TransformImages(op) => transform_images::lower(&mut lowering, op, node),
        }?;
        if ends.contains(&number) {
            lowering.end_part();
        }
    }
    sum_slices::launch_deferred(&mut lowering, None);
    Ok(lowering.finish())
}
