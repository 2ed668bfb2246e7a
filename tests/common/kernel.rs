//! One kernel against the plain reference of its operator, natively and in the browser.
//!
//! The reference computes in double precision from operands that are exact in `f32`, so the
//! difference is the kernel's own rounding. Its bound is the textbook one: a sum of K
//! products differs by at most (K + c)·ε·Σ|terms|, with ε = 2⁻²⁴ and a small c for the
//! operations around it.

use pyr_wgpu::engine::{Device, Engine, EngineError};
use pyr_wgpu::graph::{Data, Graph, Op, Role, Tensor, ValueId, ops};
use pyr_wgpu::kernels::{self, Choices};
use pyr_wgpu::shape::DType;

const EPSILON: f64 = 1.0 / 16_777_216.0;

/// Roundings around a sum, with room for division and square root within 2.5 units (WGSL).
const AROUND: f64 = 16.0;

/// Number of terms that an element of the result sums, and the reference of Σ|terms|.
fn bound(sample: &ops::Sample, results: &[Tensor]) -> f64 {
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
            // exp and log are good to 2⁻¹¹·2⁻¹⁰ relative at worst in WGSL, near 3 + 2|x| units.
            (
                shape(0).last() as f64 + 64.0,
                8.0 * largest(results).max(1.0),
            )
        }
        _ => (0.0, largest(results).max(1.0)),
    };
    (terms + AROUND) * EPSILON * magnitude
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

/// Runs one node on a device; returns the memory image of each result.
///
/// # Errors
/// What the device says.
pub async fn run(
    device: &Device,
    op: &Op,
    inputs: &[Tensor],
    choices: &Choices,
) -> Result<Vec<Vec<u32>>, String> {
    let failed = |e: EngineError| format!("{op:?}: {e}");
    let (graph, ids, outputs) = single(op, inputs);
    let mut engine = Engine::new(device, vec![graph.clone()], choices).map_err(failed)?;
    for (id, tensor) in ids.iter().zip(inputs) {
        engine.write(&graph.value(*id).name, &tensor.to_words());
    }
    // Results must not depend on what was in memory before: poison them.
    for id in outputs.iter().filter(|id| !ids.contains(id)) {
        let poison = vec![0x7fc0_dead_u32; graph.shape(*id).stored_len()];
        engine.write(&graph.value(*id).name, &poison);
    }
    engine.run(0).map_err(failed)?;
    let mut results = Vec::new();
    for id in outputs {
        let value = graph.value(id);
        let words = engine.read(&value.name, value.shape.stored_len()).await;
        results.push(words.map_err(failed)?);
    }
    Ok(results)
}

/// The variants of an operator's kernels that a device can run.
pub fn variants(device: &Device, op: &Op, inputs: &[Tensor]) -> Vec<Choices> {
    let (graph, _, _) = single(op, inputs);
    if !matches!(device, Device::Gpu(_)) {
        return vec![Choices::default()];
    }
    let legal = |name: &&str| {
        let choices = Choices::everywhere(name);
        kernels::lower(&graph, &device.target(), &choices).is_ok()
    };
    let names: Vec<&str> = kernels::variants().into_iter().filter(legal).collect();
    let has_choice = kernels::lower(&graph, &device.target(), &Choices::default())
        .is_ok_and(|lowered| lowered.choices.iter().next().is_some());
    match has_choice {
        true => names.iter().map(|name| Choices::everywhere(name)).collect(),
        false => vec![Choices::default()],
    }
}

/// Holds every variant that `stands` against the reference.
///
/// # Errors
/// The first difference beyond the bound, or what the device says.
pub async fn check(
    device: &Device,
    sample: &ops::Sample,
    stands: impl Fn(&Choices) -> bool,
) -> Result<(), String> {
    let references = sample
        .op
        .reference(&sample.inputs.iter().collect::<Vec<_>>());
    let tolerance = bound(sample, &references);
    let variants = variants(device, &sample.op, &sample.inputs);
    for choices in variants.into_iter().filter(stands) {
        let results = run(device, &sample.op, &sample.inputs, &choices).await?;
        for (words, reference) in results.iter().zip(&references) {
            let what = format!("{:?} with {choices:?} on {:?}", sample.op, shapes(sample));
            let result = Tensor::from_words(&reference.shape, words);
            compare(&result, reference, tolerance).map_err(|e| format!("{what}: {e}"))?;
            if result.to_words() != *words {
                return Err(format!("{what}: pads of the result are not zero"));
            }
        }
    }
    Ok(())
}

/// The shapes of a sample's operands, for messages.
pub fn shapes(sample: &ops::Sample) -> Vec<String> {
    let shapes = sample.inputs.iter().take(6);
    shapes.map(|t| t.shape.to_string()).collect()
}

fn compare(result: &Tensor, reference: &Tensor, tolerance: f64) -> Result<(), String> {
    match (&result.data, &reference.data) {
        (Data::Real(result), Data::Real(reference)) => {
            let pairs = result.iter().zip(reference).enumerate();
            let near = |a: f64, b: f64| (a - b).abs() <= tolerance || (a.is_nan() && b.is_nan());
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

/// Tiles differ in their constants only: two of them stand for all.
pub fn stands(choices: &Choices) -> bool {
    let name = choices.get("").unwrap_or("direct");
    !name.starts_with("tiled") || ["tiled 128x24", "tiled 128x64"].contains(&name)
}

/// A graph of one node: operands external, updated ones kept by their names, results outputs.
pub fn single(op: &Op, inputs: &[Tensor]) -> (Graph, Vec<ValueId>, Vec<ValueId>) {
    let mut graph = Graph::new();
    let ids: Vec<ValueId> = inputs
        .iter()
        .enumerate()
        .map(|(i, tensor)| graph.external(&format!("operand {i}"), tensor.shape.clone()))
        .collect();
    let outputs = graph
        .push(op.clone(), &ids, "result")
        .unwrap_or_else(|e| panic!("{e}"));
    for (i, id) in outputs.iter().enumerate() {
        if graph.value(*id).role == Role::Temporary {
            graph.output(*id, &format!("result {i}"));
        }
    }
    graph.validate().unwrap_or_else(|e| panic!("{e}"));
    (graph, ids, outputs)
}
