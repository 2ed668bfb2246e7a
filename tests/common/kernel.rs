//! One kernel against the plain reference of its operator, natively and in the browser.
//!
//! The reference computes in double precision from operands that are exact in `f32`, so the
//! difference is the kernel's own rounding. Its bound is the textbook one: a sum of K
//! products differs by at most (K + c)·ε·Σ|terms|, with ε = 2⁻²⁴ and a small c for the
//! operations around it.

use pyr_wgpu::engine::{Device, Engine, EngineError};
use pyr_wgpu::graph::{Data, Graph, Op, Role, Tensor, ValueId, ops, precision};
use pyr_wgpu::kernels::{self, Choices, MATRIX_NAMES};
use pyr_wgpu::shape::{DType, Shape};

const EPSILON: f64 = 1.0 / 16_777_216.0;

/// Rounding errors besides those of the sum, including WGSL's division and square root to 2.5 ULP.
const AROUND: f64 = 16.0;

/// The largest difference that rounding can cause, from the number of terms summed per output
/// element and the reference of Σ|terms|; `half` if feature maps are stored in half precision.
pub fn bound(sample: &ops::Sample, results: &[Tensor], choices: &Choices, half: bool) -> f64 {
    let choice = choices.get("").unwrap_or_default();
    // Only convolutions have Winograd kernels; other operators ignore the choice.
    if let Some((factor, (x, weights))) = amplification(choice).zip(convolved(sample)) {
        // Channels are summed for each Winograd component.
        let [inputs, outputs] = [2, 3].map(|axis| weights.shape.dims[axis]);
        let channels = inputs.max(outputs) as f64;
        return (channels + AROUND) * EPSILON * factor * magnitude(sample, x, weights);
    }
    let shape = |i: usize| &sample.inputs[i].shape;
    let absolute = || {
        let inputs: Vec<Tensor> = sample.inputs.iter().map(absolute).collect();
        largest(&sample.op.reference(&inputs.iter().collect::<Vec<_>>()))
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
        Op::GlobalAveragePool(_) => ((shape(0).dims[1] * shape(0).dims[2]) as f64, absolute()),
        Op::SoftmaxCrossEntropy(_) | Op::SoftmaxCrossEntropyGrad(_) => {
            // In WGSL, exp is accurate to 3 + 2|x| ULP, and log to 3 ULP or 2⁻²¹ absolute.
            (
                shape(0).last() as f64 + 64.0,
                8.0 * largest(results).max(1.0),
            )
        }
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

/// One operator with its operands, ready for a device.
pub struct Case {
    graph: Graph,
    operands: Vec<ValueId>,
    results: Vec<ValueId>,
    inputs: Vec<Tensor>,
    /// Which results were stored as halves before conversion.
    half: Vec<bool>,
}

impl Case {
    /// A graph of the operator alone: its operands are external values, its results outputs;
    /// operands updated in place keep their names.
    pub fn new(op: &Op, inputs: &[Tensor]) -> Case {
        Case::build(op, inputs, false)
    }

    /// The same with feature maps in half precision inside the graph, if the operator supports
    /// it; operands are rounded to halves first, so that converting them is exact.
    pub fn half(op: &Op, inputs: &[Tensor]) -> Option<Case> {
        if matches!(op, Op::Convert(_)) {
            return None;
        }
        let rounded = |tensor: &Tensor| match is_map(tensor.shape.clone()) {
            true => {
                let mut half = tensor.shape.clone();
                half.dtype = DType::F16;
                tensor.clone().stored_as(&half).stored_as(&tensor.shape)
            }
            false => tensor.clone(),
        };
        let inputs: Vec<Tensor> = inputs.iter().map(rounded).collect();
        let mut case = Case::build(op, &inputs, true);
        precision::halve(&mut case.graph);
        let graph = &case.graph;
        let node = graph.nodes.iter().find(|node| node.op == *op);
        let outputs = node.map_or(&[][..], |node| &node.outputs);
        let half = |id: &ValueId| graph.shape(*id).dtype == DType::F16;
        case.half = outputs.iter().map(half).collect();
        precision::is_half(graph).then_some(case)
    }

    fn build(op: &Op, inputs: &[Tensor], convert: bool) -> Case {
        let mut graph = Graph::new();
        let mut operands = Vec::new();
        let mut inside = Vec::new();
        for (i, tensor) in inputs.iter().enumerate() {
            let name = format!("operand {i}");
            let id = graph.external(&name, tensor.shape.clone());
            operands.push(id);
            inside.push(match convert && is_map(tensor.shape.clone()) {
                true => push(&mut graph, ops::Convert, &[id], "converted")[0],
                false => id,
            });
        }
        let mut results = push(&mut graph, op.clone(), &inside, "result");
        for (i, id) in results.iter_mut().enumerate() {
            if graph.value(*id).role != Role::Temporary {
                continue;
            }
            if convert && is_map(graph.shape(*id).clone()) {
                *id = push(&mut graph, ops::Convert, &[*id], "converted")[0];
            }
            graph.output(*id, &format!("result {i}"));
        }
        graph.validate().unwrap_or_else(|e| panic!("{e}"));
        Case {
            half: vec![false; results.len()],
            graph,
            operands,
            results,
            inputs: inputs.to_vec(),
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Runs it on a device; returns the memory image of each result.
    ///
    /// # Errors
    /// Errors of the device.
    pub async fn run(&self, device: &Device, choices: &Choices) -> Result<Vec<Vec<u32>>, String> {
        let failed = |e: EngineError| format!("{:?}: {e}", self.graph.nodes);
        let graph = &self.graph;
        let mut engine = Engine::new(device, vec![graph.clone()], choices).map_err(failed)?;
        for (id, tensor) in self.operands.iter().zip(&self.inputs) {
            let operand = engine.value(&graph.value(*id).name);
            engine.write(operand, &tensor.to_words());
        }
        // Results must not depend on the previous content of memory: fill it with NaN.
        for id in self.results.iter().filter(|id| !self.operands.contains(id)) {
            let poison = vec![0x7fc0_dead_u32; graph.shape(*id).stored_len()];
            engine.write(engine.value(&graph.value(*id).name), &poison);
        }
        engine.run(0).map_err(failed)?;
        let mut results = Vec::new();
        for id in &self.results {
            let result = engine.value(&graph.value(*id).name);
            results.push(engine.read(result).await.map_err(failed)?);
        }
        Ok(results)
    }

    /// The variants of its kernels that a device can run.
    pub fn variants(&self, device: &Device) -> Vec<Choices> {
        if !matches!(device, Device::Gpu(_)) {
            return vec![Choices::default()];
        }
        let lower = |choices: &Choices| kernels::lower(&self.graph, &device.target(), choices);
        let legal = |name: &&str| lower(&Choices::everywhere(name)).is_ok();
        let names: Vec<&str> = kernels::variants().into_iter().filter(legal).collect();
        let has_choice =
            lower(&Choices::default()).is_ok_and(|lowered| lowered.choices.iter().next().is_some());
        match has_choice {
            true => names.iter().map(|name| Choices::everywhere(name)).collect(),
            false => vec![Choices::default()],
        }
    }
}

fn push(graph: &mut Graph, op: impl Into<Op>, inputs: &[ValueId], name: &str) -> Vec<ValueId> {
    let results = graph.push(op, inputs, name);
    results.unwrap_or_else(|e| panic!("{e}"))
}

pub fn is_map(shape: Shape) -> bool {
    shape.dims.len() == 4 && shape == Shape::channels(&shape.dims)
}

/// Compares every variant that `stands` selects with the reference and, on a GPU, also the
/// representative ones with feature maps in half precision. Returns the number compared.
///
/// # Errors
/// The first difference beyond the bound, or an error of the device.
pub async fn check(
    device: &Device,
    sample: &ops::Sample,
    stands: impl Fn(&Choices) -> bool,
) -> Result<usize, String> {
    let single = Case::new(&sample.op, &sample.inputs);
    let mut checked = check_case(device, sample, &single, &stands).await?;
    if let (Device::Gpu(_), Some(half)) = (device, Case::half(&sample.op, &sample.inputs)) {
        let stands = |choices: &Choices| stands(choices) && self::stands(choices);
        checked += check_case(device, sample, &half, stands).await?;
    }
    Ok(checked)
}

async fn check_case(
    device: &Device,
    sample: &ops::Sample,
    case: &Case,
    stands: impl Fn(&Choices) -> bool,
) -> Result<usize, String> {
    let inputs: Vec<&Tensor> = case.inputs.iter().collect();
    let references = sample.op.reference(&inputs);
    let variants: Vec<Choices> = case.variants(device).into_iter().filter(stands).collect();
    for choices in &variants {
        let half = precision::is_half(&case.graph);
        let tolerance = bound(sample, &references, choices, half);
        let results = case.run(device, choices).await?;
        let pairs = results.iter().zip(&references).zip(&case.half);
        for ((words, reference), half) in pairs {
            let precision = if *half { " in half precision" } else { "" };
            let shapes = shapes(sample);
            let what = format!("{:?}{precision} with {choices:?} on {shapes:?}", sample.op);
            let result = Tensor::from_words(&reference.shape, words);
            compare(&result, reference, tolerance, *half).map_err(|e| format!("{what}: {e}"))?;
            if result.to_words() != *words {
                return Err(format!("{what}: padding of the result is not zero"));
            }
        }
    }
    Ok(variants.len())
}

/// The shapes of a sample's operands, for messages.
pub fn shapes(sample: &ops::Sample) -> Vec<String> {
    let shapes = sample.inputs.iter().take(6);
    shapes.map(|t| t.shape.to_string()).collect()
}

/// The error of storing a half, rounded in either direction: one ULP of an 11-bit significand,
/// and the spacing of subnormal halves.
fn rounding(value: f64) -> f64 {
    value.abs() / 1024.0 + 1.0 / 16_777_216.0
}

fn compare(result: &Tensor, reference: &Tensor, tolerance: f64, half: bool) -> Result<(), String> {
    match (&result.data, &reference.data) {
        (Data::Real(result), Data::Real(reference)) => {
            let pairs = result.iter().zip(reference).enumerate();
            let near = |a: f64, b: f64| {
                let tolerance = match half {
                    true => tolerance + rounding(b),
                    false => tolerance,
                };
                (a - b).abs() <= tolerance || (a.is_nan() && b.is_nan())
            };
            match pairs.into_iter().find(|(_, (a, b))| !near(**a, **b)) {
                None => Ok(()),
                Some((i, (a, b))) => Err(format!(
                    "element {i} is {a}, reference {b}, difference {:e}, tolerance {tolerance:e}",
                    (a - b).abs()
                )),
            }
        }
        // The metrics' first word is a float.
        (Data::Index(result), Data::Index(reference)) if result.len() == ops::METRIC_WORDS => {
            let [a, b] = [result, reference].map(|m| ops::Metrics::from_words(m));
            let near = f64::from((a.loss - b.loss).abs()) <= tolerance * 300.0;
            match near && result[1..] == reference[1..] {
                true => Ok(()),
                false => Err(format!("{a:?}, reference {b:?}")),
            }
        }
        (result, reference) if result == reference => Ok(()),
        (result, reference) => Err(format!("{result:?}, reference {reference:?}")),
    }
}

/// Whether a variant is among the representative ones: tiles differ only in their constants, so
/// two of each family suffice.
pub fn stands(choices: &Choices) -> bool {
    let name = choices.get("").unwrap_or("direct");
    let standing = [
        "tiled 128x24",
        "tiled 128x64",
        "matrix 128x16",
        "matrix 128x48",
    ];
    !name.starts_with("tiled") && !name.starts_with("matrix") || standing.contains(&name)
}
