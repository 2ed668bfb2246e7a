//! The passes over a graph: autodiff, fusion, activation checkpointing, micro-batches.
//!
//! Their output for a tiny network is in `tests/snapshots`, so that a change of any pass shows as
//! a difference in text; `UPDATE_SNAPSHOTS=1` rewrites the files.
//! `tests/fusion.rs` has the rules of fusion, `tests/programs.rs` what follows lowering.

mod common;

use common::networks::{Small, graph, images, small_networks, tiny};
use common::snapshot;
use pyr_wgpu::graph::interp::{self, Store};
use pyr_wgpu::graph::ops::BranchPass;
use pyr_wgpu::graph::{ActivationCheckpointing, Data, Op, Passes};
use pyr_wgpu::kernels::{self, Choices, Target};
use pyr_wgpu::model::{Input, Network, NetworkSpec, names, preset};
use pyr_wgpu::program::plan::Plan;
use pyr_wgpu::train::{Mode, StepOptions, sample_operands, step_graph, update_graph};

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
}

/// One micro-batch and the update that follows give the state after one step.
#[test]
fn one_micro_batch_is_a_batch() {
    let network = tiny();
    let run = |mode| {
        let graph = graph(&network, 2, &Input::Tensor, mode, true);
        let mut store = sample_operands(&graph, 3);
        interp::run(&graph, &mut store).unwrap();
        store
    };
    let whole = run(Mode::Train);
    let mut micro: Store = run(Mode::MicroBatch);
    interp::run(
        &update_graph(&network, StepOptions::default(), Passes::default()).unwrap(),
        &mut micro,
    )
    .unwrap();
    for (name, tensor) in &whole {
        assert_eq!(*tensor, micro[name], "{name}");
    }
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
            let mut store = sample_operands(graph, 3);
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

/// With ShakeDrop, evaluation and frozen units multiply a branch by its survival: as a network
/// without it does whose last batch norm in the branch is scaled by that. Stochastic depth leaves
/// evaluation as it is.
#[test]
fn evaluation_uses_the_expectation_of_random_factors() {
    let plain = tiny();
    let with = |change: &dyn Fn(&mut NetworkSpec)| {
        let mut spec = plain.spec().clone();
        change(&mut spec);
        Network::new(&spec).unwrap()
    };
    let shaken = with(&|spec| spec.shakedrop = 0.4);
    let deep = with(&|spec| spec.stochastic_depth = 0.4);
    let logits = |network: &Network, scaled: bool, fuse: bool| -> Vec<f64> {
        let graph = graph(network, 2, &Input::Tensor, None, fuse);
        let mut store = sample_operands(&graph, 3);
        for unit in 1..=3 {
            // Units 1, 2 and 3 of three: 1 − (l/3)·(1 − 0.4).
            let survival = 1.0 - f64::from(unit) / 3.0 * 0.6;
            let affine = store.get_mut(&format!("layer{unit}.0.bn3.affine")).unwrap();
            if let (true, Data::Real(values)) = (scaled, &mut affine.data) {
                values.iter_mut().for_each(|value| *value *= survival);
            }
        }
        interp::run(&graph, &mut store).unwrap();
        store[names::LOGITS].values().to_vec()
    };
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    for fuse in [false, true] {
        let expected = logits(&plain, true, fuse);
        // Of the survival in single precision, 10⁻⁷ is lost.
        assert!(
            near(&logits(&shaken, false, fuse), &expected),
            "fuse {fuse}"
        );
        let unchanged = logits(&plain, false, fuse);
        assert!(!near(&unchanged, &expected));
        assert_eq!(logits(&deep, false, fuse), unchanged);
    }
    // Frozen units draw nothing.
    let draws = |network: &Network| {
        let graph = graph(network, 2, &Input::Tensor, Mode::Train, true);
        let ops = graph.nodes.iter().map(|node| &node.op);
        let passes = ops.filter_map(|op| match op {
            Op::ScaleBranch(op) => Some(op.pass),
            _ => None,
        });
        passes.collect::<Vec<_>>()
    };
    use BranchPass::{Backward, Expectation, Forward};
    let all = [Forward, Forward, Forward, Backward, Backward, Backward];
    assert_eq!(draws(&shaken), all);
    let [mut shaken, mut deep] = [shaken, deep];
    for network in [&mut shaken, &mut deep] {
        network.freeze_until(2).unwrap();
    }
    let frozen = [Expectation, Expectation, Forward, Backward];
    assert_eq!(draws(&shaken), frozen);
    assert_eq!(draws(&deep), [Forward, Backward]);
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
