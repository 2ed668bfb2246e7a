//! Training programs for a graphics card, counted without one: a dispatch must give the card
//! enough invocations, and no invocation may wait for memory too often.
//!
//! The programs are those of [`Target::portable`], as on a discrete card before tuning.
//! A dispatch that breaks a rule is in a list here with the reason; an entry that no dispatch needs
//! any more is an error, so the lists only shrink.

use std::collections::BTreeMap;

use pyr_wgpu::graph::Passes;
use pyr_wgpu::kernels::{self, Choices, Target};
use pyr_wgpu::model::{Input, Network, NetworkSpec, Stem};
use pyr_wgpu::program::{Program, Totals};
use pyr_wgpu::train::{Mode, step_graph};

/// The program of a training step of PyramidNet.
fn program(stem: Stem, depth: u32, alpha: f64, batch: usize) -> Program {
    let network = Network::new(&NetworkSpec::pyramid(stem, depth, alpha)).unwrap();
    let passes = Passes::default();
    let train = step_graph(&network, batch, &Input::Tensor, Mode::Train, passes).unwrap();
    let target = Target {
        max_binding: u64::MAX,
        storage_bindings: 16,
        ..Target::portable()
    };
    let lowered = kernels::lower(&train, &target, &Choices::default());
    lowered.unwrap_or_else(|e| panic!("{e}")).program
}

/// Networks from the smallest to one for images of 224x224.
fn programs() -> [(&'static str, Program); 4] {
    [
        ("20 a24", program(Stem::Cifar, 20, 24.0, 128)),
        ("110 a48", program(Stem::Cifar, 110, 48.0, 128)),
        ("110 a270", program(Stem::Cifar, 110, 270.0, 128)),
        ("200 a300", program(Stem::ImageNet, 200, 300.0, 32)),
    ]
}

/// Bytes from which a dispatch must fill the card, and the invocations that fill a large one.
const LARGE: u64 = 1_000_000;
const ENOUGH: u64 = 1 << 16;

/// Kernels with fewer invocations in some large dispatch, how many at least, and why.
const FEW_INVOCATIONS: [(&str, u64, &str); 12] = [
    (
        "conv2d_grad_weight_tiled",
        3456,
        "more slices would move more bytes than their operands",
    ),
    ("conv2d_tiled", 2688, "small feature maps have few tiles"),
    (
        "global_average_pool",
        1280,
        "one invocation adds all pixels of an image",
    ),
    (
        "global_average_pool_grad",
        10944,
        "an invocation visits at least eight rows",
    ),
    ("merge_moments", 4096, "one workgroup for four channels"),
    (
        "normalize",
        10944,
        "an invocation visits at least eight rows",
    ),
    (
        "normalize_grad",
        9408,
        "an invocation visits at least eight rows",
    ),
    (
        "normalize_grad_partial",
        18944,
        "an invocation visits at least four rows",
    ),
    (
        "normalize_grad_reduce",
        18944,
        "an invocation visits at least four rows",
    ),
    (
        "sgd",
        39296,
        "one invocation for four parameters, and the smallest network has few",
    ),
    (
        "shortcut_add",
        18944,
        "an invocation visits at least four rows",
    ),
    (
        "sum_slices",
        2560,
        "eight invocations add the slices of four weights",
    ),
];

/// Waits for memory that a dispatch may have.
const MOST_STEPS: u32 = 128;

/// Kernels with more in some dispatch, how many at most, and why.
const MANY_STEPS: [(&str, u32, &str); 4] = [
    (
        "conv2d_grad_weight_tiled",
        864,
        "more slices would move more bytes than their operands",
    ),
    (
        "conv2d_tiled",
        313,
        "wide layers have a long inner dimension",
    ),
    (
        "softmax_cross_entropy",
        2001,
        "one invocation passes twice over a thousand classes",
    ),
    (
        "softmax_cross_entropy_grad",
        3001,
        "one invocation passes three times over a thousand classes",
    ),
];

/// Stem of a kernel's shader.
fn stem(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

/// The list of exceptions says what is the case: fails with the dispatches that are not in it, and
/// with its entries that no dispatch needs.
fn compare(broken: &BTreeMap<String, String>, listed: &[&str], rule: &str) {
    let missing: Vec<&String> = broken
        .iter()
        .filter(|(kernel, _)| !listed.contains(&kernel.as_str()))
        .map(|(_, dispatch)| dispatch)
        .collect();
    assert!(missing.is_empty(), "{rule}: {missing:#?}");
    let stale = listed
        .iter()
        .filter(|kernel| !broken.contains_key(**kernel));
    let stale: Vec<&&str> = stale.collect();
    assert!(stale.is_empty(), "{rule}: no dispatch needs {stale:?}");
}

#[test]
fn large_dispatches_fill_a_card() {
    let mut broken = BTreeMap::new();
    for (network, program) in programs() {
        for dispatch in &program.dispatches {
            let (bytes, invocations) = (Program::bytes(dispatch), program.invocations(dispatch));
            if bytes > LARGE && invocations < ENOUGH {
                let name = &program.kernel_of(dispatch).name;
                let what = format!("{network}, {name}, {}: {invocations}", dispatch.label);
                let row = FEW_INVOCATIONS
                    .iter()
                    .find(|(kernel, ..)| *kernel == stem(name));
                if let Some((_, least, _)) = row {
                    assert!(
                        invocations >= *least,
                        "{what}, fewer than the {least} of the list"
                    );
                }
                broken.entry(stem(name).to_owned()).or_insert(what);
            }
        }
    }
    let listed = FEW_INVOCATIONS.map(|(kernel, ..)| kernel);
    compare(&broken, &listed, "too few invocations");
}

#[test]
fn no_invocation_waits_too_often() {
    let mut broken = BTreeMap::new();
    for (network, program) in programs() {
        for dispatch in &program.dispatches {
            let steps = dispatch.serial_steps;
            let name = &program.kernel_of(dispatch).name;
            let what = format!("{network}, {name}, {}: {steps}", dispatch.label);
            assert!(steps > 0, "{what}");
            if steps <= MOST_STEPS {
                continue;
            }
            let row = MANY_STEPS.iter().find(|(kernel, ..)| *kernel == stem(name));
            if let Some((_, most, _)) = row {
                assert!(steps <= *most, "{what}, more than the {most} of the list");
            }
            broken.entry(stem(name).to_owned()).or_insert(what);
        }
    }
    let listed = MANY_STEPS.map(|(kernel, ..)| kernel);
    compare(&broken, &listed, "too many waits");
}

/// What a step of PyramidNet-110 (alpha 48) does may only become less.
#[test]
fn the_work_of_a_step_does_not_grow() {
    let totals = program(Stem::Cifar, 110, 48.0, 128).totals();
    let most = Totals {
        dispatches: 896,
        bytes: 11_846_092_096,
        flops: 310_015_524_864,
        serial_steps: 15_506,
    };
    assert!(
        totals.dispatches <= most.dispatches
            && totals.bytes <= most.bytes
            && totals.flops <= most.flops
            && totals.serial_steps <= most.serial_steps,
        "{totals:?}, more than {most:?}"
    );
}
