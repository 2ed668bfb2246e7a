//! The tuner on the available adapter, for a target that has several candidates.

mod common;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::networks::small_networks;
use pyr_wgpu::engine::{Device, Engine, EngineError, Tuned, Tuner, TuningCache};
use pyr_wgpu::gpu::GpuError;
use pyr_wgpu::graph::autodiff::backward;
use pyr_wgpu::graph::ops::{Conv2d, Window};
use pyr_wgpu::graph::{Graph, Passes, Precision, precision};
use pyr_wgpu::kernels::{self, Choices, Offer, Target, kernel_name};
use pyr_wgpu::model::{Input, Network, preset};
use pyr_wgpu::program::Kernel;
use pyr_wgpu::shape::Shape;
use pyr_wgpu::train::{Mode, golden, step_graph};

/// The adapter's target as if it were a graphics card.
fn target(device: &Device) -> Target {
    Target {
        software: false,
        ..device.target()
    }
}

fn graphs(precision: Precision) -> Vec<Graph> {
    training(&small_networks()[0].network, 3, precision)
}

/// A training step.
fn training(network: &Network, batch: usize, precision: Precision) -> Vec<Graph> {
    let passes = Passes {
        precision,
        ..Passes::default()
    };
    let graph = step_graph(network, batch, &Input::Tensor, Mode::Train, passes);
    vec![graph.unwrap_or_else(|e| panic!("{e}"))]
}

/// Convolutions of 3x3 with these channels one after another, on images of 8x8, and their gradients.
/// They need few kernels, so that the tests stay fast where compilation is slow.
fn convolutions(channels: &[usize], batch: usize, precision: Precision) -> Vec<Graph> {
    let window = Window {
        stride: 1,
        padding: 1,
    };
    let mut graph = Graph::new();
    let x = graph.external("x", Shape::channels(&[batch, 8, 8, channels[0]]));
    let (mut y, mut wanted) = (x, vec![x]);
    for (number, own) in channels.windows(2).enumerate() {
        let shape = Shape::weights([3, 3, own[0], own[1]]);
        let w = graph.external(&format!("w {number}"), shape);
        let convolved = graph.push_one(Conv2d::new(window), &[y, w], &format!("y {number}"));
        y = convolved.unwrap();
        wanted.push(w);
    }
    let dy = graph.external("dy", graph.shape(y).clone());
    let gradients = backward(&mut graph, &[(y, dy)], &wanted).unwrap();
    for (number, id) in gradients.into_iter().flatten().chain([y]).enumerate() {
        graph.output(id, &format!("result {number}"));
    }
    if precision == Precision::F16 {
        precision::halve(&mut graph);
    }
    vec![graph]
}

fn offers(graph: &Graph, target: &Target) -> Vec<Offer> {
    let lowered = kernels::lower(graph, target, &Choices::default());
    lowered.unwrap_or_else(|e| panic!("{e}")).offers
}

/// The hundreds of layers of PyramidNet-110 are of few classes of shape, so that the tuner can
/// measure them all.
#[test]
fn layers_are_of_few_classes() {
    for (name, at_least, at_most) in [
        ("pyramidnet110-a48", 280, 100),
        ("pyramidnet110-a270", 280, 150),
    ] {
        let network = Network::new(&preset(name).unwrap()).unwrap();
        for precision in [Precision::F32, Precision::F16] {
            let graphs = training(&network, 128, precision);
            let offers = offers(&graphs[0], &Target::portable());
            let classes: BTreeSet<_> = offers.iter().map(|offer| &offer.class).collect();
            println!(
                "{name} {precision}: {} layers, {} classes",
                offers.len(),
                classes.len()
            );
            assert!(offers.len() >= at_least, "{name}: {} layers", offers.len());
            assert!(
                classes.len() <= at_most,
                "{name}: {} classes",
                classes.len()
            );
            // A class differs in what its kernels compute from no member.
            for offer in &offers {
                let class = offer.class.to_string();
                assert_eq!(
                    kernel_name(&class, "direct"),
                    kernel_name(&offer.key, "direct")
                );
                let window = |key: &str| key.split(' ').nth(1).map(str::to_owned);
                assert_eq!(window(&class), window(&offer.key));
                assert!(offer.flops > 0);
            }
        }
    }
}

/// One measurement serves all layers of a class, and kernels are compiled once for all of them and
/// for the engine.
#[test]
fn layers_of_a_class_share_the_work() {
    let Some(mut device) = common::separate_gpu() else {
        return;
    };
    let compiled: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    if let Device::Gpu(gpu) = &mut device {
        let compiled = Arc::clone(&compiled);
        let gpu = Arc::get_mut(gpu).expect("the device is not shared yet");
        gpu.substitute_kernels(Box::new(move |kernel| {
            let mut compiled = compiled.lock().unwrap();
            *compiled.entry(kernel.source.to_string()).or_default() += 1;
            None
        }));
    }
    let target = target(&device);
    let graphs = convolutions(&[17, 18, 19, 20, 18], 3, Precision::F32);
    let offers = offers(&graphs[0], &target);
    let classes: BTreeSet<_> = offers.iter().map(|offer| &offer.class).collect();
    let mut tuner = Tuner {
        measure: true,
        ..Tuner::default()
    };
    let mut results = complete_all(&mut tuner, &device, &target, &graphs);
    let count = |of: fn(&Tuned) -> usize| -> usize { results.iter().map(of).sum() };
    let counts = (count(|tuned| tuned.measured), count(|tuned| tuned.classes));
    assert_eq!(counts, (offers.len(), classes.len()));
    let tuned = results.pop().expect("there is a last call");
    let count = format!("{} layers, {} classes", offers.len(), classes.len());
    assert!(3 * classes.len() < 2 * offers.len(), "{count}");
    let by_class: HashMap<_, _> = offers
        .iter()
        .map(|offer| (&offer.class, tuned.choices.get(&offer.key)))
        .collect();
    for offer in &offers {
        assert_eq!(by_class[&offer.class], tuned.choices.get(&offer.key));
    }
    Engine::new(&device, graphs, &tuned.choices).unwrap_or_else(|e| panic!("{e}"));
    let compiled = compiled.lock().unwrap();
    assert!(compiled.values().all(|times| *times == 1));
}

/// Layers of classes that were not measured use the kernel of the nearest class.
#[test]
fn what_was_not_measured_is_as_the_nearest_class() {
    let Some(device) = common::gpu() else { return };
    let target = target(device);
    let mut tuner = Tuner {
        measure: true,
        ..Tuner::default()
    };
    let few = convolutions(&[16, 24], 3, Precision::F32);
    complete_all(&mut tuner, device, &target, &few);
    tuner.measure = false;
    let mut many = few;
    let larger = convolutions(&[16, 24], 6, Precision::F32);
    let all = offers(&many[0], &target).len() + offers(&larger[0], &target).len();
    many.extend(larger);
    let tuned = complete(&mut tuner, device, &target, &many).unwrap();
    assert_eq!((tuned.measured, tuned.skipped), (0, 0));
    assert_eq!(tuned.choices.iter().count(), all);
    Engine::new(device, many, &tuned.choices).unwrap_or_else(|e| panic!("{e}"));
}

/// Measurements that an earlier version of the program has cached are not used.
#[test]
fn caches_of_earlier_versions_are_ignored() {
    let Some(device) = common::gpu() else { return };
    let target = target(device);
    let graphs = convolutions(&[16, 24], 3, Precision::F32);
    let mut tuner = Tuner {
        measure: true,
        ..Tuner::default()
    };
    let tuned = complete_all(&mut tuner, device, &target, &graphs).pop();
    let tuned = tuned.expect("there is a last call");
    let text = serde_json::to_string(&tuner.memory).unwrap();
    let earlier = text
        .replace(", version 2", "")
        .replace("classes", "choices");
    assert_ne!(earlier, text);
    for (text, is_used) in [(text, true), (earlier, false)] {
        let mut tuner = Tuner {
            memory: serde_json::from_str(&text).unwrap(),
            ..Tuner::default()
        };
        let again = complete(&mut tuner, device, &target, &graphs).unwrap();
        assert_eq!(again.choices == tuned.choices, is_used);
        assert_eq!(again.choices == Choices::default(), !is_used);
    }
}

/// A fault that appears only on more images than kernels are compared on with the processor.
#[test]
fn candidates_are_compared_with_each_other_on_all_images() {
    const WRONG: [&str; 2] = [
        "    return sum;\n}",
        "    return select(1.0, 1.01, parameters.batch > 20u) * sum;\n}",
    ];
    let Some(device) = common::gpu() else { return };
    let target = target(device);
    let graphs = convolutions(&[16, 24], 24, Precision::F32);
    let offer = convolution(&graphs, &target);
    for place in 0..2 {
        let variant = offer.candidates()[place];
        let names = shaders(&graphs, &target, &offer, variant);
        let faulty = common::faulty_gpu(move |kernel| names.contains(&kernel.name), WRONG);
        let faulty = faulty.expect("there is an adapter");
        let mut tuner = Tuner {
            measure: true,
            ..Tuner::default()
        };
        let results = complete_all(&mut tuner, &faulty, &target, &graphs);
        let excluded: Vec<_> = results.iter().flat_map(|tuned| &tuned.excluded).collect();
        let kernel = kernel_name(&offer.key, variant);
        let names: Vec<&str> = excluded.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains(&kernel.as_str()), "{kernel}: {excluded:?}");
        let is_faulty = |name: &&str| name.contains(&format!(" {variant} "));
        assert!(names.iter().all(is_faulty), "{excluded:?}");
    }
}

#[test]
fn what_was_measured_is_remembered() {
    let Some(device) = common::gpu() else { return };
    for precision in [Precision::F32, Precision::F16] {
        check(device, &convolutions(&[16, 24, 24], 3, precision));
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
    let mut results = complete_all(&mut tuner, device, &target(device), graphs);
    let measured: usize = results.iter().map(|tuned| tuned.measured).sum();
    let first = results.pop().expect("there is a last call");
    assert!(measured > 0 && measured == first.choices.iter().count());
    // Again without measuring, from the serialised measurements: the same choices.
    let text = serde_json::to_string(&tuner.memory).unwrap();
    let mut tuner = Tuner {
        memory: serde_json::from_str(&text).unwrap(),
        ..Tuner::default()
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

/// The first convolution of some graphs.
fn convolution(graphs: &[Graph], target: &Target) -> Offer {
    let mut offers = offers(&graphs[0], target).into_iter();
    let found = offers.find(|offer| offer.key.starts_with("conv2d 3x3/1"));
    found.expect("the network has convolutions")
}

/// Names of the shaders that compute the convolutions with a variant, and with no other.
fn shaders(graphs: &[Graph], target: &Target, offer: &Offer, variant: &str) -> Vec<String> {
    let kernels = |variant: &str| -> Vec<Kernel> {
        let choices = Choices::everywhere(variant);
        let lowered = kernels::lower(&graphs[0], target, &choices);
        lowered.map_or_else(|_| Vec::new(), |lowered| lowered.program.kernels)
    };
    let others = offer.legal.iter().filter(|other| **other != variant);
    let others: Vec<Kernel> = others.flat_map(|other| kernels(other)).collect();
    let own = kernels(variant).into_iter();
    let own = own.filter(|kernel| !others.contains(kernel));
    let is_forward = |name: &String| name.starts_with("conv2d_") && !name.contains("grad");
    let names: Vec<String> = own.map(|kernel| kernel.name).filter(is_forward).collect();
    assert!(!names.is_empty(), "{variant}");
    names
}

fn complete(
    tuner: &mut Tuner,
    device: &Device,
    target: &Target,
    graphs: &[Graph],
) -> Result<Tuned, EngineError> {
    let none = Choices::default();
    pollster::block_on(tuner.complete(device, target, graphs, &none))
}

/// Measures in as many calls as the time limit needs; returns the results of all.
fn complete_all(
    tuner: &mut Tuner,
    device: &Device,
    target: &Target,
    graphs: &[Graph],
) -> Vec<Tuned> {
    let mut results: Vec<Tuned> = Vec::new();
    while results.last().is_none_or(|tuned| tuned.skipped > 0) {
        let tuned = complete(tuner, device, target, graphs).unwrap_or_else(|e| panic!("{e}"));
        assert!(is_consistent(&tuned), "{tuned:?}");
        results.push(tuned);
    }
    results
}

/// No choice is of an excluded kernel.
fn is_consistent(tuned: &Tuned) -> bool {
    let excluded = |kernel: String| tuned.excluded.iter().any(|(other, _)| *other == kernel);
    let mut choices = tuned.choices.iter();
    choices.all(|(key, variant)| !excluded(kernel_name(key, variant)))
}

/// A candidate that computes wrong values is excluded and named, also if it is the first, and is
/// not tried again.
#[test]
fn a_wrong_candidate_is_excluded_wherever_it_stands() {
    let Some(device) = common::gpu() else { return };
    let target = target(device);
    let graphs = convolutions(&[16, 24], 3, Precision::F32);
    let offer = convolution(&graphs, &target);
    for place in 0..2 {
        let variant = offer.candidates()[place];
        let names = shaders(&graphs, &target, &offer, variant);
        let faulty = common::faulty_gpu(
            move |kernel| names.contains(&kernel.name),
            common::WRONG_SUM,
        );
        let faulty = faulty.expect("there is an adapter");
        let mut tuner = Tuner {
            measure: true,
            ..Tuner::default()
        };
        let results = complete_all(&mut tuner, &faulty, &target, &graphs);
        let excluded: Vec<_> = results.iter().flat_map(|tuned| &tuned.excluded).collect();
        let tuned = results.last().expect("there is a last call");
        let kernel = kernel_name(&offer.key, variant);
        assert!(
            excluded.iter().any(|(name, _)| *name == kernel),
            "{kernel}: {excluded:?}"
        );
        // The gradient by the input may share the shader; kernels without the fault stay.
        for (name, reason) in excluded {
            let is_faulty = name.contains(&format!(" {variant} "));
            assert!(is_faulty && reason.contains("wrong"), "{name}: {reason}");
        }
        // The cache knows it, also without measuring, and for nodes that were not measured.
        let text = serde_json::to_string(&tuner.memory).unwrap();
        for measure in [true, false] {
            let mut tuner = Tuner {
                memory: serde_json::from_str(&text).unwrap(),
                measure,
                ..Tuner::default()
            };
            let again = complete(&mut tuner, &faulty, &target, &graphs).unwrap();
            assert_eq!((again.measured, &again.choices), (0, &tuned.choices));
            assert_eq!(again.excluded, []);
        }
    }
}

/// The kernels that an adapter uses without measuring are checked once, on the golden network.
#[test]
fn the_golden_network_finds_a_wrong_kernel() {
    let Some(device) = common::gpu() else { return };
    let target = device.target();
    for precision in [Precision::F32, Precision::F16] {
        let graphs = graphs(precision);
        let offer = convolution(&graphs, &target);
        let variant = offer.legal[0];
        let names = shaders(&graphs, &target, &offer, variant);
        let faulty = common::faulty_gpu(
            move |kernel| {
                names
                    .iter()
                    .any(|name| family(name) == family(&kernel.name))
            },
            common::WRONG_SUM,
        );
        let faulty = faulty.expect("there is an adapter");
        let new = || Tuner {
            measure: true,
            golden: Some(golden),
            ..Tuner::default()
        };
        let mut tuner = new();
        let tuned = complete(&mut tuner, &faulty, &target, &graphs).unwrap();
        let kernel = kernel_name(&offer.key, variant);
        let excluded: Vec<&str> = tuned
            .excluded
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert!(
            excluded.contains(&kernel.as_str()),
            "{kernel}: {excluded:?}"
        );
        assert!(is_consistent(&tuned), "{tuned:?}");
        assert!(tuned.check_seconds.is_some());
        // What was chosen instead can be run, and is not checked again.
        Engine::new(&faulty, graphs.clone(), &tuned.choices).unwrap();
        let again = complete(&mut tuner, &faulty, &target, &graphs).unwrap();
        assert_eq!((again.check_seconds, again.excluded), (None, vec![]));
        assert_eq!(again.choices, tuned.choices);
    }
}

/// A shader's name without the values of its constants.
fn family(name: &str) -> &str {
    name.split(' ').next().unwrap_or(name)
}

/// A kernel without another in its place is an error that names it.
#[test]
fn a_wrong_kernel_without_another_is_an_error() {
    for [shader, right, wrong] in [
        ["sgd", "old_p - rate", "old_p + rate"],
        ["global_average_pool_grad", "upstream / ", "upstream + "],
        ["merge_moments", "delta * share,", "delta * share * 1.5,"],
    ] {
        let Some(faulty) =
            common::faulty_gpu(move |kernel| family(&kernel.name) == shader, [right, wrong])
        else {
            return;
        };
        let mut tuner = Tuner {
            measure: true,
            golden: Some(golden),
            ..Tuner::default()
        };
        let target = faulty.target();
        let tuned = complete(&mut tuner, &faulty, &target, &graphs(Precision::F32));
        match tuned.unwrap_err() {
            EngineError::Faulty { kernel, .. } => assert_eq!(kernel, shader),
            other => panic!("{other}"),
        }
    }
}

/// An adapter that works passes once in each precision; with no measuring it is not checked.
#[test]
fn an_adapter_is_checked_once() {
    let Some(device) = common::gpu() else { return };
    let target = device.target();
    let mut tuner = Tuner {
        golden: Some(golden),
        ..Tuner::default()
    };
    for precision in [Precision::F32, Precision::F16] {
        let graphs = graphs(precision);
        for (measure, is_checked) in [(false, false), (true, true), (true, false)] {
            tuner.measure = measure;
            let tuned = complete(&mut tuner, device, &target, &graphs).unwrap();
            assert_eq!(
                tuned.check_seconds.is_some(),
                is_checked,
                "{precision} {measure}"
            );
            assert_eq!(tuned.excluded, []);
        }
    }
}

/// A device that is lost while kernels are compiled or measured, or before, is an error.
#[test]
fn a_lost_device_ends_compilation_and_tuning() {
    let graphs = convolutions(&[16, 24], 3, Precision::F32);
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
