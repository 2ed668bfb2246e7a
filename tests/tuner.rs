//! The tuner on the available adapter, for a target that has several candidates.

mod common;

use common::networks::small_networks;
use pyr_wgpu::engine::{Device, Engine, Tuned, Tuner};
use pyr_wgpu::graph::{Graph, Passes, Precision};
use pyr_wgpu::kernels::{Choices, Target};
use pyr_wgpu::model::Input;
use pyr_wgpu::train::{Mode, step_graph};

/// The adapter's target as if it were a graphics card.
fn target(device: &Device) -> Target {
    Target {
        software: false,
        ..device.target()
    }
}

fn graphs(precision: Precision) -> Vec<Graph> {
    let small = &small_networks()[0];
    let passes = Passes {
        precision,
        ..Passes::default()
    };
    let graph = step_graph(&small.network, 3, &Input::Tensor, Mode::Train, passes);
    vec![graph.unwrap_or_else(|e| panic!("{e}"))]
}

#[test]
fn what_was_measured_is_remembered() {
    let Some(device) = common::gpu() else { return };
    for precision in [Precision::F32, Precision::F16] {
        check(device, &graphs(precision));
    }
}

fn check(device: &Device, graphs: &[Graph]) {
    let tune = |tuner: &mut Tuner, choices: &Choices| {
        let target = target(device);
        let tuned = tuner.complete(device, &target, graphs, choices);
        pollster::block_on(tuned).unwrap_or_else(|e| panic!("{e}"))
    };
    let mut tuner = Tuner {
        measure: true,
        ..Tuner::default()
    };
    let first = tune(&mut tuner, &Choices::default());
    assert!(first.measured > 0 && first.measured == first.choices.iter().count());
    // Again without measuring, from the serialised measurements: the same choices.
    let text = serde_json::to_string(&tuner.memory).unwrap();
    let mut tuner = Tuner {
        memory: serde_json::from_str(&text).unwrap(),
        measure: false,
    };
    let again = tune(&mut tuner, &Choices::default());
    assert_eq!((again.measured, &again.choices), (0, &first.choices));
    // Given choices take precedence over cached ones.
    let (key, _) = first.choices.iter().next().unwrap();
    let mut given = Choices::default();
    given.set(key.to_owned(), "direct");
    let kept = tune(&mut tuner, &given);
    assert_eq!(kept.choices.get(key), Some("direct"));
    // The choices can be run.
    Engine::new(device, graphs.to_vec(), &first.choices).unwrap_or_else(|e| panic!("{e}"));
    // Without cache and measurements, the built-in table decides.
    let built_in = tune(&mut Tuner::default(), &Choices::default());
    assert_eq!(
        built_in,
        Tuned {
            seconds: built_in.seconds,
            ..Tuned::default()
        }
    );
}
