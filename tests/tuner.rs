//! The tuner on the available adapter, for a target that has several candidates.

mod common;

use std::time::Duration;

use common::networks::small_networks;
use pyr_wgpu::engine::{Device, Engine, EngineError, Tuned, Tuner, TuningCache};
use pyr_wgpu::gpu::GpuError;
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

/// A device that is lost while kernels are compiled or measured, or before, is an error.
#[test]
fn a_lost_device_ends_compilation_and_tuning() {
    let graphs = graphs(Precision::F32);
    let compile = |device: &Device| {
        let check = common::deadline("error of a lost device");
        let mut engine = Engine::new(device, graphs.clone(), &Choices::default())?;
        // The loss may come later than the compilation.
        loop {
            check();
            engine.run(0)?;
            engine.finish()?;
        }
    };
    let tune = |device: &Device| {
        let check = common::deadline("error of a lost device");
        let mut tuner = Tuner {
            measure: true,
            ..Tuner::default()
        };
        let target = target(device);
        let none = Choices::default();
        loop {
            check();
            tuner.memory = TuningCache::default();
            pollster::block_on(tuner.complete(device, &target, &graphs, &none))?;
        }
    };
    type Use<'a> = &'a dyn Fn(&Device) -> Result<(), EngineError>;
    let uses: [Use<'_>; 2] = [&compile, &tune];
    for call in uses {
        for delay in [None, Some(20), Some(300)] {
            let Some(device) = common::separate_gpu() else {
                return;
            };
            if delay.is_none() {
                common::destroy(&device);
            }
            let error = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(delay.unwrap_or(0)));
                    common::destroy(&device);
                });
                call(&device).unwrap_err()
            });
            let lost = matches!(error, EngineError::Gpu(GpuError::Lost(_)));
            assert!(lost, "after {delay:?} ms: {error}");
        }
    }
}
