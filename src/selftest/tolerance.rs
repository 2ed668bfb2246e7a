//! How far rounding can move the result of a kernel from the reference of its operator.
//!
//! The reference computes in double precision from operands that are exact in `f32`, so the
//! difference is the kernel's own rounding. Its bound is the standard one: a sum of K products
//! differs by at most (K + c)·ε·Σ|terms|, with ε = 2⁻²⁴ and a small c for the operations around
//! it.

use crate::engine::Device;
use crate::graph::{Data, Op, Tensor, ops};
use crate::kernels::{Choices, MATRIX_NAMES};
use crate::shape::DType;

const EPSILON: f64 = 1.0 / 16_777_216.0;

/// Rounding errors besides those of the sum, including WGSL's division and square root to 2.5 ULP.
const AROUND: f64 = 16.0;

/// The choice that stands for the CPU device, which may use Winograd's convolution for windows of
/// 3x3 with stride 1.
const PROCESSOR: &str = "processor";

/// The choices by which the results of a device are judged.
pub(super) fn judged_as(device: &Device, choices: &Choices) -> Choices {
    match device {
        Device::Cpu(_) => Choices::everywhere(PROCESSOR),
        _ => choices.clone(),
    }
}

/// The largest difference that rounding can cause; `half` if feature maps are stored in half
/// precision.
pub(super) fn bound(
    sample: &ops::Sample,
    results: &[Tensor],
    choices: &Choices,
    half: bool,
) -> f64 {
    let own = bound_of(sample, results, choices, half);
    if choices.get("") != Some(PROCESSOR) || !is_winograd(sample) {
        return own;
    }
    let winograd = match &sample.op {
        Op::Conv2dGradWeight(_) => grad_weight_bound(sample),
        _ => bound_of(sample, results, &Choices::everywhere("winograd 2x2"), half),
    };
    own.max(winograd)
}

/// Whether an operator is a convolution, or one of its gradients, in windows of 3x3 with stride 1.
fn is_winograd(sample: &ops::Sample) -> bool {
    let weights = || sample.inputs[1].shape.dims[..2] == [3, 3];
    match &sample.op {
        Op::Conv2d(op) => op.window.stride == 1 && weights(),
        Op::Conv2dGradInput(op) => op.window.stride == 1 && weights(),
        Op::Conv2dGradWeight(op) => op.window.stride == 1 && op.kernel == [3, 3],
        _ => false,
    }
}

/// The bound of the weight gradient by the transpose of F(2x2, 3x3): for each component, a sum over
/// tiles of the products of input and output gradient. Along an axis, the largest row of
/// |Gᵀ|·(rows of |Bᵀ| summed)·(rows of |A| summed) is 1·2·1 + ½·2·2 + ½·2·2 = 6.
fn grad_weight_bound(sample: &ops::Sample) -> f64 {
    let operands: Vec<&Tensor> = sample.inputs.iter().collect();
    let Op::Conv2dGradWeight(op) = &sample.op else {
        unreachable!("the caller has a weight gradient");
    };
    let named = op.inputs(&operands);
    let input = op.normalize_input.as_ref().zip(named.normalize_input);
    let normalized = input.map(|(normalize, norm)| {
        let operands = [named.x, norm.moments, norm.affine];
        largest(&Op::from(normalize.clone()).reference(&operands))
    });
    let x = normalized.unwrap_or_else(|| largest(std::slice::from_ref(named.x)));
    let dims = &named.dy.shape.dims;
    let tiles = (dims[0] * dims[1].div_ceil(2) * dims[2].div_ceil(2)) as f64;
    (tiles + AROUND) * EPSILON * 36.0 * tiles * x * largest(std::slice::from_ref(named.dy))
}

/// The largest difference that rounding can cause, from the number of terms summed per output
/// element and the reference of Σ|terms|.
fn bound_of(sample: &ops::Sample, results: &[Tensor], choices: &Choices, half: bool) -> f64 {
    let choice = choices.get("").unwrap_or_default();
    // Only convolutions have Winograd kernels; other operators ignore the choice.
    if let Some((factor, (x, weights))) = amplification(choice).zip(convolved(sample)) {
        // Channels are summed for each Winograd component.
        let [inputs, outputs] = [2, 3].map(|axis| weights.shape.dims[axis]);
        let channels = inputs.max(outputs) as f64;
        return (channels + AROUND) * EPSILON * factor * magnitude(sample, x, weights);
    }
    let shape = |i: usize| &sample.inputs[i].shape;
    // Σ|terms| is at least the result. The reference of absolute values alone would be zero where
    // an absolute mean exceeds the absolute input that it normalises.
    let absolute = || {
        let inputs: Vec<Tensor> = sample.inputs.iter().map(absolute).collect();
        let sums = sample.op.reference(&inputs.iter().collect::<Vec<_>>());
        largest(&sums).max(largest(results))
    };
    let (terms, magnitude) = match &sample.op {
        Op::Conv2d(_) => (shape(1).rows() as f64, absolute()),
        Op::Conv2dGradInput(_) => {
            let w = shape(1);
            ((w.dims[0] * w.dims[1] * w.dims[3]) as f64, absolute())
        }
        Op::Conv2dGradWeight(_) => (shape(1).rows() as f64, absolute()),
        Op::ColumnSum(_) => (shape(0).rows() as f64, absolute()),
        Op::NormalizeGradReduce(_) | Op::BatchMoments(_) => {
            // Σ|dy·x̂| is at most rows times the largest product; |x̂| stays below 8 here.
            let rows = shape(0).rows() as f64;
            (
                rows.sqrt() + 8.0,
                8.0 * rows.sqrt() * largest(results).max(1.0),
            )
        }
        Op::GlobalAveragePool(op) => {
            let pixels = op.views * shape(0).dims[1] * shape(0).dims[2];
            (pixels as f64, absolute())
        }
        Op::SoftmaxCrossEntropy(_) | Op::SoftmaxCrossEntropyGrad(_) => {
            // In WGSL, exp is accurate to 3 + 2|x| ULP, and log to 3 ULP or 2⁻²¹ absolute.
            (
                shape(0).last() as f64 + 64.0,
                8.0 * largest(results).max(1.0),
            )
        }
        // An invocation adds 64 vectors of squares; a tree adds 64 sums, and another some slices.
        Op::ClipFactor(_) => (128.0, 1.0),
        Op::MixBatch(_) => (2.0, absolute()),
        _ => (0.0, largest(results).max(1.0)),
    };
    // With half-precision maps, matrix units round the other factors to halves as well: within
    // one ULP of an 11-bit significand, and the spacing of subnormal halves.
    let rounded = match half && MATRIX_NAMES.contains(&choice) {
        true => magnitude / 1024.0 + terms * largest(&sample.inputs).max(1.0) / 16_777_216.0,
        false => 0.0,
    };
    (terms + AROUND) * EPSILON * magnitude + rounded
}

/// The largest factor by which the transforms of Winograd's convolution enlarge absolute values:
/// along an axis, the largest row of |Aᵀ|·(rows of |Bᵀ| summed)·(largest of each row of |G|);
/// squared for both axes.
///
/// For F(2, 3): 1·2·1 + 1·2·½ + 1·2·½ = 4. For F(4, 3), from the row (0, 1, −1, 8, −8, 1):
/// 2·1·10/6 + 2·8·6/6 + 1·10·1 = 29⅓.
fn amplification(choice: &str) -> Option<f64> {
    match choice {
        "winograd 2x2" => Some(4.0 * 4.0),
        "winograd 4x4" => Some(29.4 * 29.4),
        _ => None,
    }
}

/// The largest input value times the largest sum of |weights| of an output channel.
fn magnitude(sample: &ops::Sample, x: &Tensor, weights: &Tensor) -> f64 {
    let [_, _, inputs, outputs] = [0, 1, 2, 3].map(|axis| weights.shape.dims[axis]);
    let result_of = |at: usize| match &sample.op {
        Op::Conv2dGradInput(_) => at / outputs % inputs,
        _ => at % outputs,
    };
    let mut sums = vec![0.0; inputs.max(outputs)];
    for (at, weight) in weights.values().iter().enumerate() {
        sums[result_of(at)] += weight.abs();
    }
    let sum = sums.iter().fold(0.0f64, |max, s| max.max(*s));
    let (source, gain) = match &sample.op {
        Op::Conv2d(conv) => {
            let operands: Vec<&Tensor> = sample.inputs.iter().collect();
            let named = conv.inputs(&operands);
            let input = conv.normalize_input.as_ref().zip(named.normalize_input);
            let prepared = input.map(|(normalize, norm)| {
                let operands = [x, norm.moments, norm.affine];
                largest(&Op::from(normalize.clone()).reference(&operands))
            });
            // A fused output normalisation multiplies by scale / deviation.
            let output = conv.normalize_output.as_ref().zip(named.normalize_output);
            let gain = output.map(|(normalize, norm)| {
                let ops::NormOperands { moments, affine } = norm;
                let inverse = |c: usize| {
                    let variance = moments.values()[outputs + c];
                    affine.values()[c].abs() / (variance + f64::from(normalize.epsilon)).sqrt()
                };
                (0..outputs).map(inverse).fold(1.0, f64::max)
            });
            (prepared, gain.unwrap_or(1.0))
        }
        _ => (None, 1.0),
    };
    let source = source.unwrap_or_else(|| largest(std::slice::from_ref(x)));
    source * sum * gain
}

/// The input and the weights that a convolution, or its gradient by the input, reads.
fn convolved(sample: &ops::Sample) -> Option<(&Tensor, &Tensor)> {
    let operands: Vec<&Tensor> = sample.inputs.iter().collect();
    match &sample.op {
        Op::Conv2d(op) => {
            let named = op.inputs(&operands);
            Some((named.x, named.w))
        }
        Op::Conv2dGradInput(op) => {
            let named = op.inputs(&operands);
            Some((named.dy, named.w))
        }
        _ => None,
    }
}

fn absolute(tensor: &Tensor) -> Tensor {
    match &tensor.data {
        Data::Real(values) => Tensor::real(
            tensor.shape.clone(),
            values.iter().map(|v| v.abs()).collect(),
        ),
        Data::Index(_) => tensor.clone(),
    }
}

fn largest(tensors: &[Tensor]) -> f64 {
    let reals = tensors.iter().filter(|t| t.shape.dtype == DType::F32);
    reals
        .flat_map(|t| t.values())
        .filter(|v| v.is_finite())
        .fold(0.0, |max, v| v.abs().max(max))
}

/// The error of storing a half, rounded in either direction: one ULP of an 11-bit significand,
/// and the spacing of subnormal halves.
pub(super) fn rounding(value: f64) -> f64 {
    value.abs() / 1024.0 + 1.0 / 16_777_216.0
}
