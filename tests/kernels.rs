//! Every kernel, every variant the adapter can run, and every loop of the CPU device, against
//! the operator's plain reference.

mod common;

use std::collections::HashMap;

use pyr_wgpu::engine::Device;
use pyr_wgpu::graph::{Data, Op, Tensor};
use pyr_wgpu::kernels::{self, Choices};
use pyr_wgpu::program::Kernel;
use pyr_wgpu::selftest::{Case, Halves, cases, check, pairs, shapes, stands};

#[test]
fn every_kernel_agrees_with_its_reference() {
    let samples = Op::samples();
    assert!(samples.len() > 80, "only {} samples", samples.len());
    for device in common::fast_devices() {
        for sample in &samples {
            let checked = check(device, sample, |_| true);
            pollster::block_on(checked).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest_half() {
    let halves = Halves::all();
    for device in common::fast_devices() {
        if matches!(device, Device::Gpu(_)) {
            let checked = halves.check(device, None);
            pollster::block_on(checked).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

/// Kernels that write partial statistics in their epilogue (moments of a convolution's output or
/// of a unit's sum; gradients of scale and shift) give the result of the separate reduction.
#[test]
fn reductions_beside_their_producers_agree_with_the_reference() {
    let mut checked = 0;
    for device in common::fast_devices() {
        for sample in &Op::samples() {
            for (pair, choices) in pairs(sample) {
                let done = pollster::block_on(pair.check(device, sample, &choices, None));
                checked += usize::from(done.unwrap_or_else(|e| panic!("{e}")).is_some());
            }
        }
    }
    assert!(checked > 60, "only {checked} pairs");
}

/// The memory image of each result of one node.
fn bits(device: &Device, case: &Case, choices: &Choices) -> Vec<Vec<u32>> {
    pollster::block_on(case.run(device, choices)).unwrap_or_else(|e| panic!("{e}"))
}

/// A kernel's name without the widths of the subgroup family.
fn form(kernel: &Kernel) -> String {
    let is_flag = |word: &&str| word.ends_with("=0") || word.ends_with("=1");
    let words = kernel.name.split(' ');
    let kept = words.filter(|word| !kernel.needs.subgroups || !word.contains('=') || is_flag(word));
    kept.collect::<Vec<_>>().join(" ")
}

/// On all samples, but of the subgroup family's widths, whose unrolled code takes long to compile,
/// the first stands for all.
#[test]
fn checked_and_unchecked_shaders_give_the_same_bits() {
    let (Some(gpu), Some(checked)) = (common::gpu(), common::checked_gpu()) else {
        return;
    };
    let mut first = HashMap::new();
    for sample in &Op::samples() {
        for (case, choices) in cases(gpu, sample).iter().filter(|(_, c)| stands(c)) {
            let lowered = kernels::lower(case.graph(), &gpu.target(), choices);
            let kernels = lowered.unwrap_or_else(|e| panic!("{e}")).program.kernels;
            let mut is_first = |kernel: &Kernel| {
                let name = first.entry(form(kernel)).or_insert(kernel.name.clone());
                *name == kernel.name
            };
            if !kernels.iter().all(&mut is_first) {
                continue;
            }
            let fast = bits(gpu, case, choices);
            let safe = bits(checked, case, choices);
            assert_eq!(fast, safe, "{:?} on {:?}", sample.op, shapes(sample));
        }
    }
    assert!(first.len() > 60, "only {} kernels", first.len());
}

/// Vector instructions of every width add in the same order.
#[test]
fn all_vectors_of_the_processor_give_the_same_bits() {
    let [best, others @ ..] = common::processors() else {
        panic!("a processor has at least one instruction set");
    };
    if others.is_empty() {
        eprintln!("skipped: {} is the only instruction set", best.name());
    }
    for sample in &Op::samples() {
        let case = Case::new(&sample.op, &sample.inputs);
        let expected = bits(best, &case, &Choices::default());
        for other in others {
            let found = bits(other, &case, &Choices::default());
            let (a, b) = (best.name(), other.name());
            let what = format!("{:?} on {:?}", sample.op, shapes(sample));
            assert!(expected == found, "{a} and {b} differ: {what}");
        }
    }
}

/// A NaN or an infinity in the input appears in the output wherever the reference has one.
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
            let case = Case::new(&sample.op, &inputs);
            for choices in case.variants(device) {
                let results = bits(device, &case, &choices);
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
    assert!(seen > 1000, "only {seen} values were NaN or infinite");
}
