//! The operators, one file each: attributes, shape rule, gradient as other operators, a
//! plain reference in double precision, and sample cases.
//!
//! The list at the end of this file is the only place that names them all: it expands to
//! [`Op`] and its delegation.
//! The references favour clarity over speed. They are the oracle of the kernels' tests, the
//! definition that finite differences check, and `--device reference`.

mod accumulate;
mod add;
mod adjust_loss_scale;
mod all_reduce;
mod assemble_batch;
mod average_weights;
mod batch_moments;
mod batch_norm;
mod bias_add;
mod clip_factor;
mod column_sum;
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
mod loss_scale;
mod max_pool;
mod max_pool_grad;
mod merge_moments;
mod metrics;
mod mix_batch;
mod named;
mod normalize;
mod normalize_grad;
mod normalize_grad_reduce;
mod pooling;
mod rectangle;
mod relu;
mod relu_grad;
mod running_average;
mod scale_branch;
mod scale_loss;
mod sgd;
mod shortcut;
mod shortcut_add;
mod shortcut_grad;
mod softmax_cross_entropy;
mod softmax_cross_entropy_grad;
mod sum_slices;
mod tape;
mod transform;
mod transform_images;
mod window;

pub use accumulate::{Accumulate, AccumulateInputs};
pub use add::{Add, AddInputs};
pub use adjust_loss_scale::{AdjustLossScale, AdjustLossScaleInputs};
pub use all_reduce::{AllReduce, AllReduceInputs, Reduction};
pub use assemble_batch::{AssembleBatch, AssembleBatchInputs, ChannelOrder};
pub use average_weights::{AverageWeights, AverageWeightsInputs};
pub use batch_moments::{BatchMoments, BatchMomentsInputs, BatchMomentsOutputs};
pub use bias_add::{BiasAdd, BiasAddInputs};
pub use clip_factor::{ClipFactor, ClipFactorInputs};
pub use column_sum::{ColumnSum, ColumnSumInputs};
pub use conv2d::{Conv2d, Conv2dInputs, Conv2dOutputs};
pub use conv2d_grad_input::{Conv2dGradInput, Conv2dGradInputInputs, Conv2dGradInputOutputs};
pub use conv2d_grad_weight::{Conv2dGradWeight, Conv2dGradWeightInputs};
pub use convert::{Convert, ConvertInputs};
pub use count_metrics::{CountMetrics, CountMetricsInputs};
pub use cross_entropy::{IGNORED, Target};
pub use dropout::{Dropout, DropoutInputs};
pub use erase::{Erase, EraseInputs};
pub use find_overflow::{FindOverflow, FindOverflowInputs};
pub use global_average_pool::{GlobalAveragePool, GlobalAveragePoolInputs};
pub use global_average_pool_grad::{GlobalAveragePoolGrad, GlobalAveragePoolGradInputs};
pub use loss_scale::{LOSS_SCALE_WORDS, LossScale};
pub use max_pool::{MaxPool, MaxPoolInputs, MaxPoolOutputs};
pub use max_pool_grad::{MaxPoolGrad, MaxPoolGradInputs};
pub use merge_moments::{MergeMoments, MergeMomentsInputs, MergeMomentsOutputs};
pub use metrics::{METRIC_WORDS, Metrics};
pub use mix_batch::{MIXTURE_WORDS, MixBatch, MixBatchInputs, Mixture};
pub use named::{NormOperands, NormalizedOperands};
pub use normalize::{Normalize, NormalizeInputs};
pub use normalize_grad::{NormalizeGrad, NormalizeGradInputs, NormalizeGradOutputs};
pub use normalize_grad_reduce::{NormalizeGradReduce, NormalizeGradReduceInputs};
pub use pooling::Pooling;
pub use rectangle::{RECTANGLE_WORDS, Rectangle};
pub use relu::{Relu, ReluInputs};
pub use relu_grad::{ReluGrad, ReluGradInputs};
pub use running_average::{RunningAverage, RunningAverageInputs};
pub use scale_branch::{BranchPass, BranchRule, ScaleBranch, ScaleBranchInputs};
pub use scale_loss::{ScaleLoss, ScaleLossInputs};
pub use sgd::{Sgd, SgdInputs, SgdOutputs, vector_after};
pub use shortcut_add::{ShortcutAdd, ShortcutAddInputs, ShortcutAddOutputs};
pub use shortcut_grad::{ShortcutGrad, ShortcutGradInputs};
pub use softmax_cross_entropy::{
    SoftmaxCrossEntropy, SoftmaxCrossEntropyInputs, SoftmaxCrossEntropyOutputs,
};
pub use softmax_cross_entropy_grad::{SoftmaxCrossEntropyGrad, SoftmaxCrossEntropyGradInputs};
pub use sum_slices::{SumSlices, SumSlicesInputs};
pub use tape::Tape;
pub use transform::{Base, TRANSFORM_SIZE, TRANSFORM_WORDS, Transform};
pub use transform_images::{TransformImages, TransformImagesInputs};
pub use window::{Taps, Window};

use super::{GraphError, Node, Tensor, ValueId};
use crate::rng::{Purpose, Stream};
use crate::shape::Shape;

/// The interface of an operator; [`Op`] delegates to it.
trait Operator: Clone + std::fmt::Debug + PartialEq {
    /// Name in messages, snapshots and the table of kernels.
    const NAME: &'static str;

    /// Feature maps among the operands and results that may be stored in half precision.
    const HALF: HalfMaps;

    /// Names of the results; unused for a single result and for results updated in place.
    const OUTPUTS: &'static [&'static str] = &["y"];

    /// Result shapes, or the rule that the operands violate.
    fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String>;

    /// Computes the results. The operands' shapes must satisfy [`Operator::infer`].
    fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor>;

    /// Appends nodes that compute the gradient of each operand; `None` where it is zero, not
    /// needed or undefined (indices).
    fn gradient(
        &self,
        tape: &mut Tape<'_>,
        node: &Node,
        _upstream: &[Option<ValueId>],
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        Err(GraphError::NotDifferentiable {
            op: Self::NAME,
            name: tape.graph.value(node.outputs[0]).name.clone(),
        })
    }

    /// Index pairs (operand, result) that are one value, updated in place.
    fn updates(&self, _operands: usize) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// Multiplications and additions on true elements; 0 for memory-bound operators.
    fn flops(&self, _inputs: &[&Shape], _outputs: &[&Shape]) -> u64 {
        0
    }

    /// Small test cases, at least one for each behaviour.
    fn samples(draw: &mut Draw) -> Vec<Sample>;
}

/// The feature maps of an operator that may be stored in half precision. A node stores all of
/// them so or none, except with [`HalfMaps::Each`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfMaps {
    /// Operands and results.
    All,
    /// Operands.
    Inputs,
    /// Results.
    Outputs,
    /// None: all operands and results stay in single precision.
    Neither,
    /// Each independently: the operator converts between precisions.
    Each,
}

/// A test case: an operator and its operands.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operator.
    pub op: Op,
    /// Operands.
    pub inputs: Vec<Tensor>,
}

impl Sample {
    fn new(op: impl Into<Op>, inputs: Vec<Tensor>) -> Sample {
        Sample {
            op: op.into(),
            inputs,
        }
    }
}

/// Generates operands for samples: random numbers that are exact in `f32`.
pub struct Draw(Stream);

impl Draw {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Draw {
        Draw(Stream::new(seed, Purpose::Initialise, 0, 0))
    }

    /// Standard normal numbers.
    pub fn real(&mut self, shape: Shape) -> Tensor {
        let values = (0..shape.len())
            .map(|_| f64::from(self.0.normal() as f32))
            .collect();
        Tensor::real(shape, values)
    }

    /// Uniform numbers in [0.5, 1.5), for example variances.
    pub fn positive(&mut self, shape: Shape) -> Tensor {
        let values = (0..shape.len())
            .map(|_| 0.5 + f64::from(self.0.uniform()))
            .collect();
        Tensor::real(shape, values)
    }

    /// Uniform integers in 0..`bound`.
    pub fn below(&mut self, shape: Shape, bound: u32) -> Tensor {
        let values = (0..shape.len()).map(|_| self.0.below(bound)).collect();
        Tensor::index(shape, values)
    }

    /// Uniform 32-bit words.
    pub fn words(&mut self, shape: Shape) -> Tensor {
        let values = (0..shape.len()).map(|_| self.0.next_u32()).collect();
        Tensor::index(shape, values)
    }
}

/// `Err(rule)` unless `holds`.
fn require(holds: bool, rule: impl FnOnce() -> String) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(rule()),
    }
}

/// Whether a number is NaN or infinite in `f32`, in which devices compute.
fn overflows(value: f64) -> bool {
    !(value as f32).is_finite()
}

/// Extents N, H, W, C, or the violated rule.
fn nhwc(shape: &Shape) -> Result<[usize; 4], String> {
    <[usize; 4]>::try_from(shape.dims.as_slice())
        .map_err(|_| format!("needs [N, H, W, C], not {shape}"))
}

macro_rules! operators {
    ($($name:ident),* $(,)?) => {
        /// Any operator; see the file of each in this module.
        #[derive(Clone, PartialEq)]
        pub enum Op {
            $(#[doc = concat!("See [`", stringify!($name), "`].")] $name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        })*

        impl std::fmt::Debug for Op {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self { $(Op::$name(op) => op.fmt(f),)* }
            }
        }

        /// Names of all operators.
        #[cfg(test)]
        const NAMES: &[&str] = &[$($name::NAME),*];

        impl Op {
            /// Name in messages, snapshots and the table of kernels.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => $name::NAME,)* }
            }

            /// Feature maps that may be stored in half precision.
            pub fn half_maps(&self) -> HalfMaps {
                match self { $(Op::$name(_) => $name::HALF,)* }
            }

            /// Names of the results.
            pub fn output_names(&self) -> &'static [&'static str] {
                match self { $(Op::$name(_) => $name::OUTPUTS,)* }
            }

            /// Result shapes.
            ///
            /// # Errors
            /// The rule that the operands violate.
            pub fn infer(&self, inputs: &[&Shape]) -> Result<Vec<Shape>, String> {
                match self { $(Op::$name(op) => op.infer(inputs),)* }
            }

            /// Results of the plain reference, in double precision.
            pub fn reference(&self, inputs: &[&Tensor]) -> Vec<Tensor> {
                match self { $(Op::$name(op) => op.reference(inputs),)* }
            }

            /// Appends the nodes that compute the operands' gradients.
            pub(super) fn gradient(
                &self,
                tape: &mut Tape<'_>,
                node: &Node,
                upstream: &[Option<ValueId>],
            ) -> Result<Vec<Option<ValueId>>, GraphError> {
                match self { $(Op::$name(op) => op.gradient(tape, node, upstream),)* }
            }

            /// Index pairs (operand, result) that are one value, updated in place, given the
            /// number of operands.
            pub fn updates(&self, operands: usize) -> Vec<(usize, usize)> {
                match self { $(Op::$name(op) => op.updates(operands),)* }
            }

            /// Multiplications and additions on true elements; 0 for memory-bound operators.
            pub fn flops(&self, inputs: &[&Shape], outputs: &[&Shape]) -> u64 {
                match self { $(Op::$name(op) => op.flops(inputs, outputs),)* }
            }

            /// Sample cases of every operator.
            pub fn samples() -> Vec<Sample> {
                let mut all = Vec::new();
                $(all.extend($name::samples(&mut Draw::new(all.len() as u64)));)*
                all
            }
        }
    };
}

operators!(
    Accumulate,
    Add,
    AdjustLossScale,
    AllReduce,
    AssembleBatch,
    AverageWeights,
    BatchMoments,
    BiasAdd,
    ClipFactor,
    ColumnSum,
    Conv2d,
    Conv2dGradInput,
    Conv2dGradWeight,
    Convert,
    CountMetrics,
    Dropout,
    Erase,
    FindOverflow,
    GlobalAveragePool,
    GlobalAveragePoolGrad,
    MaxPool,
    MaxPoolGrad,
    MergeMoments,
    MixBatch,
    Normalize,
    NormalizeGrad,
    NormalizeGradReduce,
    Relu,
    ReluGrad,
    RunningAverage,
    ScaleBranch,
    ScaleLoss,
    Sgd,
    ShortcutAdd,
    ShortcutGrad,
    SoftmaxCrossEntropy,
    SoftmaxCrossEntropyGrad,
    SumSlices,
    TransformImages,
);

#[cfg(test)]
mod tests;
