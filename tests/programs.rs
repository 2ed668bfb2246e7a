//! Lowering and the memory plan: programs of whole networks.
//!
//! The program and the plan of a tiny network are in `tests/snapshots`;
//! `UPDATE_SNAPSHOTS=1` rewrites the files.
//! Invariants are checked on small networks and on presets of full size, by computing again what
//! the passes claim.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use common::networks::{graph, images, small_networks, tiny};
use common::snapshot;
use pyr_wgpu::engine::MemoryPlan;
use pyr_wgpu::graph::{ActivationCheckpointing, Graph, Passes, Role};
use pyr_wgpu::kernels::{self, Choices, LowerError, Target};
use pyr_wgpu::model::{Input, Network, names, preset, preset_names};
use pyr_wgpu::program::plan::Plan;
use pyr_wgpu::program::{Access, Binding, Lifetime, OFFSET_ALIGNMENT, Program};
use pyr_wgpu::train::{Mode, StepOptions, step_graph, update_graph};

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
fn the_program_of_a_tiny_network_prints_as_before() {
    let network = tiny();
    let train = graph(&network, 2, &images(&network, 6), Mode::Train, true);
    let program = lowered(&train, &Target::portable());
    snapshot("train_program", &program.to_string());
    snapshot("train_plan", &describe(&Plan::new(&program), &program));
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
                // A dispatch may write disjoint ranges of a buffer, or read it several times.
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
        let update = update_graph(network, StepOptions::default(), Passes::default()).unwrap();
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

/// The training step of every preset is planned without a device, and recomputing takes less.
#[test]
fn every_preset_plans_its_memory() {
    let unlimited = Target {
        max_binding: u64::MAX,
        ..Target::portable()
    };
    for name in preset_names() {
        let network = Network::new(&preset(name).unwrap()).unwrap();
        let total = |batch: usize, checkpointing: ActivationCheckpointing| {
            let passes = Passes {
                checkpointing,
                ..Passes::default()
            };
            let graph = step_graph(&network, batch, &Input::Tensor, Mode::Train, passes);
            let program = lowered(&graph.unwrap(), &unlimited);
            MemoryPlan::new(&[&program]).total()
        };
        let totals = [1, 16, 256].map(|batch| total(batch, ActivationCheckpointing::default()));
        // Weights, gradients and velocity, at least.
        let least = 3 * 4 * network.counts().parameters;
        assert!(
            totals[0] > least && totals.is_sorted(),
            "{name}: {totals:?}"
        );
        let recomputed = total(256, ActivationCheckpointing::Units);
        assert!(recomputed < totals[2], "{name}: {recomputed}");
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
            let [count, first] = [0, 1].map(|i| u64::from(update.uniforms[i]));
            assert_eq!((16 * first, 16 * count), (p.offset, p.bytes));
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

/// The same for averages of the weights, and for the squares of gradients that clipping sums.
#[test]
fn averages_and_norms_cover_arenas_larger_than_a_binding() {
    let network = tiny();
    let options = StepOptions {
        clip_norm: Some(1.0),
        ema: Some(0.9),
        ..StepOptions::default()
    };
    let update = update_graph(&network, options, Passes::default()).unwrap();
    for limit in [1 << 30, 40_000, 20_480] {
        let target = Target {
            max_binding: limit,
            ..Target::portable()
        };
        let program = lowered(&update, &target);
        for (kernel, arenas) in [
            ("clip_factor_squares", &["sums"][..]),
            ("average_weights", &["averages"]),
        ] {
            let mut parts: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
            for dispatch in &program.dispatches {
                let name = &program.kernel_of(dispatch).name;
                if name == kernel || name.starts_with(&format!("{kernel} ")) {
                    let binding = &dispatch.bindings[0];
                    assert!(binding.bytes <= limit, "{kernel}: {limit}");
                    let buffer = &program.buffers[binding.buffer.0];
                    let part = (binding.offset, binding.offset + binding.bytes);
                    parts.entry(&buffer.name).or_default().push(part);
                }
            }
            println!("{kernel} {limit} {parts:?}");
            assert_eq!(parts.len(), arenas.len(), "{kernel}: {parts:?}");
            for (arena, mut parts) in parts {
                let buffer = program.buffers.iter().find(|buffer| buffer.name == arena);
                parts.sort_unstable();
                assert_eq!(parts[0].0, 0, "{kernel}: {arena}");
                parts.push((buffer.unwrap().bytes, 0));
                // Values begin at aligned offsets.
                let gap = |two: &[(u64, u64)]| two[1].0.checked_sub(two[0].1);
                let gaps: Vec<Option<u64>> = parts.windows(2).map(gap).collect();
                let is_small = |gap: &Option<u64>| gap.is_some_and(|gap| gap < OFFSET_ALIGNMENT);
                assert!(
                    gaps.iter().all(is_small),
                    "{kernel}: {limit}, {arena}, {gaps:?}"
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
