//! The passes between a network and its program: autodiff, fusion, lowering, memory plan.
//!
//! Their output for a tiny network is in `tests/snapshots`, so that a change of any pass shows as
//! a difference in text; `UPDATE_SNAPSHOTS=1` rewrites the files.
//! Invariants are checked on small networks and on presets of full size, by computing again what
//! the passes claim.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use common::networks::{self, Small, small_networks};
use common::snapshot;
use pyr_wgpu::graph::interp::{self, Store};
use pyr_wgpu::graph::{ActivationCheckpointing, Graph, Op, Passes, Precision, Role};
use pyr_wgpu::kernels::{self, Choices, LowerError, Target};
use pyr_wgpu::model::{Input, Network, NetworkSpec, Preprocessing, Stem, names, preset};
use pyr_wgpu::program::plan::Plan;
use pyr_wgpu::program::{Access, Binding, Lifetime, OFFSET_ALIGNMENT, Program};
use pyr_wgpu::train::{Mode, step_graph, update_graph};

/// One unit a stage, five classes, images of 8x8.
fn tiny() -> Network {
    let spec = NetworkSpec {
        classes: 5,
        image_size: 8,
        ..NetworkSpec::pyramid(Stem::Cifar, 8, 3.0)
    };
    Network::new(&spec).unwrap()
}

/// Images on the device, augmented when batches are assembled.
fn images(network: &Network, count: usize) -> Input {
    Input::Images {
        name: names::TRAIN_IMAGES,
        count,
        preprocessing: Preprocessing::new(network.spec(), [127.0; 3], [64.0; 3]),
        augment: true,
    }
}

/// Without a mode, the graph of a prediction.
fn graph(
    network: &Network,
    batch: usize,
    input: &Input,
    mode: impl Into<Option<Mode>>,
    fuse: bool,
) -> Graph {
    let passes = Passes {
        fuse,
        checkpointing: ActivationCheckpointing::Off,
        precision: Precision::F32,
    };
    let graph = match mode.into() {
        Some(mode) => step_graph(network, batch, input, mode, passes),
        None => network.prediction_graph(batch, input, passes),
    };
    graph.unwrap_or_else(|e| panic!("{}: {e}", network.spec()))
}

fn lowered(graph: &Graph, target: &Target) -> Program {
    let lowered = kernels::lower(graph, target, &Choices::default());
    lowered.unwrap_or_else(|e| panic!("{e}")).program
}

/// A software adapter with subgroups of eight.
fn software() -> Target {
    Target {
        subgroup_size: Some(8),
        software: true,
        ..Target::portable()
    }
}

/// Slots with their buffers in the order of their lifetimes.
fn describe(plan: &Plan, program: &Program) -> String {
    let mut text = String::new();
    let lives = lives(program);
    for (slot, bytes) in plan.slots.iter().enumerate() {
        writeln!(text, "slot {slot}, {bytes} bytes").unwrap();
        let mut tenants: Vec<(usize, usize, usize)> = (0..program.buffers.len())
            .filter(|buffer| plan.slot_of[*buffer] == Some(slot))
            .filter_map(|buffer| lives[buffer].map(|(first, last)| (first, last, buffer)))
            .collect();
        tenants.sort_unstable();
        for (first, last, buffer) in tenants {
            let buffer = &program.buffers[buffer];
            let (name, bytes) = (&buffer.name, buffer.bytes);
            writeln!(text, "  {first}..={last} {name}, {bytes} bytes").unwrap();
        }
    }
    text
}

#[test]
fn a_tiny_network_prints_as_before() {
    let network = tiny();
    let print =
        |mode: Option<Mode>, fuse| graph(&network, 2, &Input::Tensor, mode, fuse).to_string();
    snapshot("forward", &print(None, false));
    snapshot("forward_fused", &print(None, true));
    snapshot("backward", &print(Some(Mode::Gradients), false));
    snapshot("backward_fused", &print(Some(Mode::Gradients), true));
    let train = graph(&network, 2, &images(&network, 6), Mode::Train, true);
    snapshot("train", &train.to_string());
    let program = lowered(&train, &Target::portable());
    snapshot("train_program", &program.to_string());
    snapshot("train_plan", &describe(&Plan::new(&program), &program));
}

/// A fused graph computes what the unfused one computes: logits, loss, every gradient, and all
/// state after a training step.
///
/// The fused references do the same arithmetic in the same order, so even the bits agree.
#[test]
fn fusion_changes_nothing() {
    let mut fired = [0; 6];
    for small in small_networks() {
        let (name, network, batch) = (small.name, &small.network, small.batch);
        let unfused = graph(network, batch, &Input::Tensor, Mode::Train, false);
        let fused = graph(network, batch, &Input::Tensor, Mode::Train, true);
        let count = |graph: &Graph, wanted: fn(&Op, usize) -> bool| {
            let nodes = graph.nodes.iter();
            nodes
                .filter(|node| wanted(&node.op, node.inputs.len()))
                .count()
        };
        let with_relu = |op: &Op, _: usize| match op {
            Op::Normalize(op) => op.relu,
            Op::Conv2d(op) => op.normalize_input.as_ref().is_some_and(|p| p.relu),
            _ => false,
        };
        let prepared =
            |op: &Op, _: usize| matches!(op, Op::Conv2d(op) if op.normalize_input.is_some());
        let relu = |op: &Op, _: usize| matches!(op, Op::Relu(_));
        let with_branch = |op: &Op, n: usize| matches!(op, Op::ShortcutAdd(_)) && n == 4;
        let with_sum = |op: &Op, n: usize| matches!(op, Op::NormalizeGrad(_)) && n == 6;
        let with_shortcut = |op: &Op, _: usize| match op {
            Op::NormalizeGrad(op) => op.shortcut.as_ref().is_some_and(|s| s.stride == 2),
            _ => false,
        };
        let with_running = |op: &Op, n: usize| matches!(op, Op::BatchMoments(_)) && n == 2;
        let rules = [
            with_relu,
            with_branch,
            with_sum,
            with_shortcut,
            with_running,
            prepared,
        ];
        assert_eq!(rules.map(|rule| count(&unfused, rule)), [0; 6], "{name}");
        // In these networks every ReLU follows a batch norm.
        assert_eq!(count(&fused, with_relu), count(&unfused, relu), "{name}");
        assert_eq!(count(&fused, relu), 0, "{name}");
        for (fired, rule) in fired.iter_mut().zip(rules) {
            *fired += count(&fused, rule);
        }

        let store = networks::operands(&unfused, 3);
        assert_eq!(store, networks::operands(&fused, 3), "{name}");
        let [unfused, fused] = [unfused, fused].map(|graph| {
            let mut store = store.clone();
            interp::run(&graph, &mut store).unwrap_or_else(|e| panic!("{name}: {e}"));
            store.into_iter().collect::<BTreeMap<_, _>>()
        });
        let names = |store: &BTreeMap<String, _>| store.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&unfused), names(&fused), "{name}");
        for (value, tensor) in &unfused {
            assert_eq!(*tensor, fused[value], "{name}: {value}");
        }
    }
    assert!(
        fired.iter().all(|fired| *fired > 0),
        "rules were applied {fired:?} times"
    );
}

/// One micro-batch and the update that follows give the state after one step.
#[test]
fn one_micro_batch_is_a_batch() {
    let network = tiny();
    let run = |mode| {
        let graph = graph(&network, 2, &Input::Tensor, mode, true);
        let mut store = networks::operands(&graph, 3);
        interp::run(&graph, &mut store).unwrap();
        store
    };
    let whole = run(Mode::Train);
    let mut micro: Store = run(Mode::MicroBatch);
    interp::run(
        &update_graph(&network, Passes::default()).unwrap(),
        &mut micro,
    )
    .unwrap();
    for (name, tensor) in &whole {
        assert_eq!(*tensor, micro[name], "{name}");
    }
}

/// First and last dispatch that binds each buffer.
fn lives(program: &Program) -> Vec<Option<(usize, usize)>> {
    let binds = |at: usize, buffer: usize| {
        let bindings = &program.dispatches[at].bindings;
        bindings.iter().any(|b| b.buffer.0 == buffer)
    };
    let all = 0..program.dispatches.len();
    let life = |buffer| {
        let first = all.clone().find(|at| binds(*at, buffer))?;
        let last = all.clone().rfind(|at| binds(*at, buffer))?;
        Some((first, last))
    };
    (0..program.buffers.len()).map(life).collect()
}

fn overlap(a: &Binding, b: &Binding) -> bool {
    a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes
}

/// What must hold for every program and its plan.
fn check_program(what: &str, program: &Program, target: &Target) {
    let plan = Plan::new(program);
    let lives = lives(program);
    let temporary = |buffer: usize| program.buffers[buffer].lifetime == Lifetime::Temporary;
    let mut most_live = 0;
    let mut written = BTreeSet::new();
    for (at, dispatch) in program.dispatches.iter().enumerate() {
        let what = format!("{what}, dispatch {at} ({})", dispatch.label);
        // Memory: every live buffer has its own slot, which is large enough.
        let alive: Vec<usize> = (0..lives.len())
            .filter(|b| temporary(*b) && lives[*b].is_some_and(|(f, l)| f <= at && at <= l))
            .collect();
        let mut tenants: BTreeMap<usize, usize> = BTreeMap::new();
        for buffer in &alive {
            let name = &program.buffers[*buffer].name;
            let slot =
                plan.slot_of[*buffer].unwrap_or_else(|| panic!("{what}: {name} has no slot"));
            assert!(
                plan.slots[slot] >= program.buffers[*buffer].bytes,
                "{what}: {name}"
            );
            if let Some(other) = tenants.insert(slot, *buffer) {
                let other = &program.buffers[other].name;
                panic!("{what}: {name} and {other} are alive in slot {slot}");
            }
        }
        most_live = most_live.max(alive.iter().map(|b| program.buffers[*b].bytes).sum());

        // Bindings: within their buffers, aligned, at most eight, no aliasing of written ranges.
        assert!(
            dispatch.bindings.len() <= 8,
            "{what}: {} bindings",
            dispatch.bindings.len()
        );
        let kernel = program.kernel_of(dispatch);
        let accesses: Vec<Access> = dispatch.bindings.iter().map(|b| b.access).collect();
        assert_eq!(accesses, kernel.bindings, "{what}");
        for (i, binding) in dispatch.bindings.iter().enumerate() {
            let buffer = binding.buffer.0;
            let bytes = program.buffers[buffer].bytes;
            assert_eq!(binding.offset % OFFSET_ALIGNMENT, 0, "{what}: binding {i}");
            assert!(
                binding.bytes > 0 && binding.bytes % 4 == 0,
                "{what}: binding {i}"
            );
            assert!(
                binding.offset + binding.bytes <= bytes,
                "{what}: binding {i}"
            );
            assert!(binding.bytes <= target.max_binding, "{what}: binding {i}");
            if temporary(buffer) && binding.access == Access::Read {
                let name = &program.buffers[buffer].name;
                assert!(
                    written.contains(&buffer),
                    "{what}: {name} is read before it is written"
                );
            }
            for (j, other) in dispatch.bindings.iter().enumerate().skip(i + 1) {
                // A dispatch may use a buffer for writing once, or several times for reading.
                let same = binding.buffer == other.buffer;
                let mixed = binding.access != other.access;
                assert!(
                    !(same && mixed),
                    "{what}: bindings {i} and {j} read and write one buffer"
                );
                let writes = binding.access == Access::Write;
                assert!(
                    !(same && writes && overlap(binding, other)),
                    "{what}: bindings {i} and {j} write the same range"
                );
            }
        }
        let writes = dispatch
            .bindings
            .iter()
            .filter(|b| b.access == Access::Write);
        written.extend(writes.map(|b| b.buffer.0));

        // Grids: what WebGPU allows.
        for extent in dispatch.grid {
            assert!(
                (1..=65_535).contains(&extent),
                "{what}: grid {:?}",
                dispatch.grid
            );
        }
    }
    let temporaries = program.buffers.iter().zip(&lives);
    let all: u64 = temporaries
        .filter(|(b, life)| b.lifetime == Lifetime::Temporary && life.is_some())
        .map(|(b, _)| b.bytes)
        .sum();
    let planned = plan.bytes();
    println!("{what}: {planned} bytes planned, {most_live} alive at most, {all} in all");
    assert!(planned <= all, "{what}: {planned} bytes planned for {all}");
    assert!(
        planned >= most_live,
        "{what}: {planned} bytes planned, {most_live} alive"
    );
}

#[test]
fn programs_of_small_networks_keep_the_rules() {
    for small in small_networks() {
        let (name, network, batch) = (small.name, &small.network, small.batch);
        let input = images(network, 6);
        for mode in [
            None,
            Some(Mode::Evaluate),
            Some(Mode::Gradients),
            Some(Mode::Train),
            Some(Mode::MicroBatch),
        ] {
            for fuse in [false, true] {
                let graph = graph(network, batch, &input, mode, fuse);
                for target in [Target::portable(), software()] {
                    let what = format!("{name} {mode:?} fuse {fuse}");
                    check_program(&what, &lowered(&graph, &target), &target);
                }
            }
        }
        let update = update_graph(network, Passes::default()).unwrap();
        let target = Target::portable();
        check_program(
            &format!("{name} update"),
            &lowered(&update, &target),
            &target,
        );
    }
}

#[test]
fn programs_of_full_size_keep_the_rules() {
    const PORTABLE: u64 = 128 << 20;
    for (name, batch, mode, max_binding) in [
        ("pyramidnet110-a48", 128, Some(Mode::Train), PORTABLE),
        (
            "pyramidnet200-a300-imagenet",
            2,
            Some(Mode::Train),
            PORTABLE,
        ),
        // So large that one dimension of a grid is not enough.
        ("demo", 8192, Some(Mode::Train), 4 << 30),
        ("pyramidnet164-a270", 2048, None, 4 << 30),
    ] {
        let network = Network::new(&preset(name).unwrap()).unwrap();
        let graph = graph(&network, batch, &Input::Tensor, mode, true);
        for target in [Target::portable(), software()] {
            let target = Target {
                max_binding,
                ..target
            };
            let program = lowered(&graph, &target);
            check_program(&format!("{name} at {batch}"), &program, &target);
            if batch == 8192 {
                let rows = |grid: [u32; 3]| grid[1] * grid[2] > 1;
                assert!(program.dispatches.iter().any(|d| rows(d.grid)), "{name}");
            }
        }
    }
}

/// Where an arena exceeds a binding, several dispatches update every parameter once.
#[test]
fn the_optimiser_covers_arenas_larger_than_a_binding() {
    let network = tiny();
    let train = graph(&network, 2, &Input::Tensor, Mode::Train, true);
    for limit in [1 << 30, 40_000, 20_480] {
        let target = Target {
            max_binding: limit,
            ..Target::portable()
        };
        let program = lowered(&train, &target);
        let updates: Vec<_> = program
            .dispatches
            .iter()
            .filter(|d| program.kernel_of(d).name.starts_with("sgd "))
            .collect();
        let arena = &program.buffers[updates[0].bindings[0].buffer.0];
        assert_eq!(arena.name, "parameters");
        assert_eq!(updates.len() > 1, arena.bytes > limit, "{limit}");
        // Parameters, gradients and velocities are split alike.
        let mut covered: Vec<(u64, u64)> = Vec::new();
        for update in updates {
            let [p, g, v] = [0, 1, 2].map(|i| &update.bindings[i]);
            assert!(p.bytes <= limit, "{limit}");
            assert_eq!((p.offset, p.bytes), (g.offset, g.bytes));
            assert_eq!((p.offset, p.bytes), (v.offset, v.bytes));
            assert_eq!(u64::from(update.uniforms[0]) * 16, p.bytes);
            covered.push((p.offset, p.offset + p.bytes));
        }
        let holds = |value: &pyr_wgpu::kernels::Place, bytes: u64| {
            let overlaps = covered.iter().map(|(start, end)| {
                let (first, last) = (value.offset.max(*start), (value.offset + bytes).min(*end));
                last.saturating_sub(first)
            });
            overlaps.sum::<u64>() == bytes
        };
        covered
            .iter()
            .zip(covered.iter().skip(1))
            .for_each(|(a, b)| assert!(a.1 <= b.0));
        let places = kernels::lower(&train, &target, &Choices::default())
            .unwrap()
            .places;
        for (value, place) in train.values.iter().zip(&places) {
            if value.role == Role::Kept(pyr_wgpu::graph::Arena::Parameters) {
                let place = place.expect("parameters have places");
                assert!(
                    holds(&place, value.shape.bytes()),
                    "{limit}: {}",
                    value.name
                );
            }
        }
    }
}

#[test]
fn a_tensor_that_no_binding_shows_is_named() {
    let network = tiny();
    let target = Target {
        max_binding: 100_000,
        ..Target::portable()
    };
    let refused = |graph: &Graph| {
        let error = kernels::lower(graph, &target, &Choices::default()).unwrap_err();
        let LowerError::TooLarge {
            name, bytes, limit, ..
        } = &error
        else {
            panic!("{error:?}");
        };
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains(&bytes.to_string()),
            "{text}"
        );
        assert!(text.contains("smaller batch"), "{text}");
        assert_eq!(*limit, 100_000);
        (name.clone(), *bytes)
    };
    // Sixteen channels of 64 images of 8x8.
    let large = graph(&network, 64, &Input::Tensor, None, true);
    assert_eq!(refused(&large), ("bn1".to_owned(), 4 * 16 * 64 * 8 * 8));
    // 48 words for each image.
    let many = graph(&network, 2, &images(&network, 1000), Mode::Train, true);
    assert_eq!(
        refused(&many),
        (names::TRAIN_IMAGES.to_owned(), 4 * 48 * 1000)
    );
    let fits = graph(&network, 2, &images(&network, 500), Mode::Train, true);
    lowered(&fits, &target);
}

#[test]
fn a_choice_that_cannot_run_is_named() {
    let train = graph(&tiny(), 2, &Input::Tensor, Mode::Train, true);
    for (variant, target) in [("subgroup", Target::portable()), ("fastest", software())] {
        let error = kernels::lower(&train, &target, &Choices::everywhere(variant)).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, LowerError::Variant { .. }), "{text}");
        for word in [variant, "conv2d 3x3/1 3>16 @8x8x2", "direct"] {
            assert!(text.contains(word), "{text}");
        }
    }
}

/// The choices that lowering returns reproduce the program.
#[test]
fn choices_repeat_a_program() {
    let train = graph(&tiny(), 2, &Input::Tensor, Mode::Train, true);
    let mut repeated = 0;
    for variant in kernels::variants() {
        // Some tiles exist only for convolutions and input gradients, some for weight gradients.
        let choices = Choices::everywhere(variant);
        let Ok(first) = kernels::lower(&train, &software(), &choices) else {
            continue;
        };
        repeated += 1;
        let again = kernels::lower(&train, &software(), &first.choices).unwrap();
        assert!(first.choices.iter().count() >= 3);
        assert!(first.choices.iter().all(|(_, chosen)| chosen == variant));
        assert_eq!(first.program, again.program, "{variant}");
    }
    assert!(repeated >= 8, "only {repeated}");
}

/// Recomputation changes no bit, and memory shrinks from level to level.
#[test]
fn computing_again_changes_memory_only() {
    let levels = [
        ActivationCheckpointing::Off,
        ActivationCheckpointing::Normalized,
        ActivationCheckpointing::Units,
    ];
    for Small {
        name,
        network,
        batch,
    } in &small_networks()
    {
        let graphs = levels.map(|recompute| {
            let passes = Passes {
                checkpointing: recompute,
                ..Passes::default()
            };
            let graph = step_graph(network, *batch, &Input::Tensor, Mode::Train, passes);
            graph.unwrap_or_else(|e| panic!("{name}: {e}"))
        });
        let results = graphs.each_ref().map(|graph| {
            let mut store = networks::operands(graph, 3);
            interp::run(graph, &mut store).unwrap_or_else(|e| panic!("{name}: {e}"));
            store
        });
        assert_eq!(results[0], results[1], "{name}");
        assert_eq!(results[0], results[2], "{name}");
    }
    let network = Network::new(&preset("pyramidnet110-a48").unwrap()).unwrap();
    // The largest plan stores normalised activations, which fusion leaves out.
    let stored = Passes {
        fuse: false,
        checkpointing: ActivationCheckpointing::Off,
        ..Passes::default()
    };
    let [unfused, fused, units] = [
        stored,
        Passes::default(),
        Passes {
            checkpointing: ActivationCheckpointing::Units,
            ..Passes::default()
        },
    ]
    .map(|passes| {
        let graph = step_graph(&network, 8, &Input::Tensor, Mode::Train, passes).unwrap();
        let choices = Choices::default();
        let lowered = kernels::lower(&graph, &Target::portable(), &choices).unwrap();
        Plan::new(&lowered.program).bytes()
    });
    let share = [fused, units].map(|level| level as f64 / unfused as f64);
    // Of six activations of a unit, three are normalised ones; units keep one of three.
    assert!(share[0] < 0.65 && share[1] < 1.0 / 3.0, "{share:?}");
}

#[test]
fn batch_norm_of_one_value_is_refused() {
    let spec = NetworkSpec {
        image_size: 4,
        ..tiny().spec().clone()
    };
    let network = Network::new(&spec).unwrap();
    let error = step_graph(&network, 1, &Input::Tensor, Mode::Train, Passes::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than one value"), "{error}");
    graph(&network, 2, &Input::Tensor, Mode::Train, true);
    graph(&network, 1, &Input::Tensor, None, true);
}
