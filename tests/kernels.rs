//! Every kernel, every variant the adapter can run, and every loop of the CPU device, against
//! the operator's plain reference.
//!
//! The reference computes in double precision from operands that are exact in `f32`, so the
//! difference is the kernel's own rounding. Its bound is the textbook one: a sum of K
//! products differs by at most (K + c)·ε·Σ|terms|, with ε = 2⁻²⁴ and a small c for the
//! operations around it.

mod common;

use pyr_wgpu::engine::{Device, Engine};
use pyr_wgpu::graph::{Data, Op, Tensor, ValueId, ops};
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
fn run(device: &Device, op: &Op, inputs: &[Tensor], choices: &Choices) -> Vec<Vec<u32>> {
    let (graph, ids, outputs) = common::single(op, inputs);
    let mut engine =
        Engine::new(device, vec![graph.clone()], choices).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    for (id, tensor) in ids.iter().zip(inputs) {
        engine.write(&graph.value(*id).name, &tensor.to_words());
    }
    // Results must not depend on what was in memory before: poison them.
    for id in outputs.iter().filter(|id| !ids.contains(id)) {
        let poison = vec![0x7fc0_dead_u32; graph.shape(*id).stored_len()];
        engine.write(&graph.value(*id).name, &poison);
    }
    engine.run(0).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    let read = |id: &ValueId| {
        let value = graph.value(*id);
        let words = engine.read(&value.name, value.shape.stored_len());
        pollster::block_on(words).unwrap_or_else(|e| panic!("{op:?}: {e}"))
    };
    outputs.iter().map(read).collect()
}

fn variants(device: &Device, op: &Op, inputs: &[Tensor]) -> Vec<Choices> {
    let (graph, _, _) = common::single(op, inputs);
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

fn check(device: &Device, sample: &ops::Sample) {
    let references = sample
        .op
        .reference(&sample.inputs.iter().collect::<Vec<_>>());
    let tolerance = bound(sample, &references);
    for choices in variants(device, &sample.op, &sample.inputs) {
        let results = run(device, &sample.op, &sample.inputs, &choices);
        for (words, reference) in results.iter().zip(&references) {
            let what = format!("{:?} with {choices:?} on {:?}", sample.op, shapes(sample));
            let result = Tensor::from_words(&reference.shape, words);
            compare(&what, &result, reference, tolerance);
            assert_eq!(
                result.to_words(),
                *words,
                "{what}: pads of the result are not zero"
            );
        }
    }
}

fn shapes(sample: &ops::Sample) -> Vec<String> {
    let shapes = sample.inputs.iter().take(6);
    shapes.map(|t| t.shape.to_string()).collect()
}

fn compare(what: &str, result: &Tensor, reference: &Tensor, tolerance: f64) {
    match (&result.data, &reference.data) {
        (Data::Real(result), Data::Real(reference)) => {
            for (i, (a, b)) in result.iter().zip(reference).enumerate() {
                let difference = (a - b).abs();
                assert!(
                    difference <= tolerance || (a.is_nan() && b.is_nan()),
                    "{what}: element {i} is {a}, reference {b}, difference {difference:e}, \
                     tolerance {tolerance:e}"
                );
            }
        }
        // The metrics' first word is a float.
        (Data::Index(result), Data::Index(reference)) if result.len() == ops::METRIC_WORDS => {
            let [a, b] = [result, reference].map(|m| ops::Metrics::from_words(m));
            assert!(
                f64::from((a.loss - b.loss).abs()) <= tolerance * 300.0,
                "{what}: {a:?} {b:?}"
            );
            assert_eq!(result[1..], reference[1..], "{what}");
        }
        (result, reference) => assert_eq!(result, reference, "{what}"),
    }
}

#[test]
fn every_kernel_agrees_with_its_reference() {
    let samples = Op::samples();
    assert!(samples.len() > 80, "only {} samples", samples.len());
    for device in common::fast_devices() {
        for sample in &samples {
            check(device, sample);
        }
    }
}

#[test]
fn checked_and_unchecked_shaders_give_the_same_bits() {
    let (Some(gpu), Some(checked)) = (common::gpu(), common::checked_gpu()) else {
        return;
    };
    // Tiles differ in their constants only: two of them stand for all.
    let stands = |choices: &Choices| {
        let name = choices.get("").unwrap_or("direct");
        !name.starts_with("tiled") || ["tiled 128x24", "tiled 128x64"].contains(&name)
    };
    for sample in &Op::samples() {
        let variants = variants(gpu, &sample.op, &sample.inputs);
        for choices in variants.into_iter().filter(stands) {
            let fast = run(gpu, &sample.op, &sample.inputs, &choices);
            let safe = run(checked, &sample.op, &sample.inputs, &choices);
            assert_eq!(fast, safe, "{:?} on {:?}", sample.op, shapes(sample));
        }
    }
}

/// A NaN or an infinity that goes in comes out, wherever the reference says so.
#[test]
fn nan_and_infinity_stay_visible() {
    for device in common::fast_devices() {
        check_visible(device);
    }
}

fn check_visible(device: &Device) {
    let mut seen = 0;
    for sample in Op::samples() {
        // Every operator that takes an activation and gives real numbers.
        let first = &sample.inputs[0];
        let Data::Real(values) = &first.data else {
            continue;
        };
        for bad in [f64::NAN, f64::INFINITY] {
            let mut values = values.clone();
            let at = values.len() / 2;
            values[at] = bad;
            let mut inputs = sample.inputs.clone();
            inputs[0] = Tensor::real(first.shape.clone(), values);
            let references = sample.op.reference(&inputs.iter().collect::<Vec<_>>());
            for choices in variants(device, &sample.op, &inputs) {
                let results = run(device, &sample.op, &inputs, &choices);
                for (words, reference) in results.iter().zip(&references) {
                    let Data::Real(reference_values) = &reference.data else {
                        continue;
                    };
                    let result = Tensor::from_words(&reference.shape, words);
                    for (i, (a, b)) in result.values().iter().zip(reference_values).enumerate() {
                        assert!(
                            b.is_finite() || !a.is_finite(),
                            "{:?} on {:?} with {bad}: element {i} is {a}, reference {b}",
                            sample.op,
                            shapes(&sample)
                        );
                        seen += usize::from(!b.is_finite());
                    }
                }
            }
        }
    }
    assert!(seen > 1000, "only {seen} visible");
}
