//! Feature maps in half precision: small errors, half the memory, a loss scale that adapts.
//! `tests/kernels.rs` tests the kernels.

mod common;

use common::networks::{Small, small_networks};
use common::runs::{Run, finish, precisions};
use pyr_wgpu::engine::TensorKind;
use pyr_wgpu::graph::interp::{self, Store};
use pyr_wgpu::graph::ops::LossScale;
use pyr_wgpu::graph::{Graph, Passes, Precision, Value};
use pyr_wgpu::kernels::{self, Choices, Target};
use pyr_wgpu::model::{Input, Network, names, preset};
use pyr_wgpu::program::plan::Plan;
use pyr_wgpu::shape::DType;
use pyr_wgpu::train::{Mode, sample_operands, step_graph};

fn graph(network: &Network, batch: usize, precision: Precision) -> Graph {
    let passes = Passes {
        precision,
        ..Passes::default()
    };
    let graph = step_graph(network, batch, &Input::Tensor, Mode::Gradients, passes);
    graph.unwrap_or_else(|e| panic!("{}: {e}", network.spec()))
}

fn run(graph: &Graph, seed: u64) -> Store {
    let mut store = sample_operands(graph, seed);
    interp::run(graph, &mut store).unwrap_or_else(|e| panic!("{e}"));
    store
}

/// Without the rounding, results are unchanged: conversions are where they must be.
#[test]
fn halves_change_roundings_only() {
    for Small {
        name,
        network,
        batch,
    } in &small_networks()
    {
        let single = graph(network, *batch, Precision::F32);
        let mut half = graph(network, *batch, Precision::F16);
        let mut halves = 0;
        for value in &mut half.values {
            if value.shape.dtype == DType::F16 {
                value.shape = value.shape.computed();
                halves += 1;
            }
        }
        assert!(halves > 10, "{name}: only {halves} values are halves");
        assert_eq!(run(&single, 3), run(&half, 3), "{name}");
    }
}

/// Logits with feature maps in half precision stay near those in single precision.
///
/// Every store of a half rounds by at most 2⁻¹¹ of the value, and batch norm preserves
/// magnitudes: to first order the errors of all stores on the path add up.
/// That holds as long as no max-pool changes its argmax and no channel's deviation is much
/// smaller than its mean, which depends on the draw: the best of several draws is compared, while
/// a bug would affect all. (Gradients have no such bound, because they jump wherever the input of
/// a ReLU changes its sign.)
#[test]
fn scores_from_halves_are_near() {
    for Small {
        name,
        network,
        batch,
    } in &small_networks()
    {
        let graphs = [Precision::F32, Precision::F16].map(|p| graph(network, *batch, p));
        let is_half = |value: &&Value| value.shape.dtype == DType::F16;
        let bound = graphs[1].values.iter().filter(is_half).count() as f64 / 2048.0;
        let errors = (3..8).map(|seed| {
            let [single, half] = graphs.each_ref().map(|graph| run(graph, seed));
            relative(single[names::LOGITS].values(), half[names::LOGITS].values())
        });
        let best = errors.fold(f64::INFINITY, f64::min);
        assert!(
            (1e-6..bound).contains(&best),
            "{name}: {best}, bound {bound}"
        );
    }
}

/// Norm of the difference over the norm of the first.
fn relative(first: &[f64], second: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let mut differences = first.iter().zip(second).map(|(a, b)| a - b);
    norm(&mut differences) / norm(&mut first.iter().copied())
}

/// Nearly all temporary memory of a training step is feature maps, so it is halved.
#[test]
fn halves_take_half_the_memory() {
    let network = Network::new(&preset("pyramidnet110-a48").unwrap()).unwrap();
    let [single, half] = [Precision::F32, Precision::F16].map(|precision| {
        let passes = Passes {
            precision,
            ..Passes::default()
        };
        let graph = step_graph(&network, 128, &Input::Tensor, Mode::Train, passes);
        let graph = graph.unwrap_or_else(|e| panic!("{e}"));
        let lowered = kernels::lower(&graph, &Target::portable(), &Choices::default());
        Plan::new(&lowered.unwrap_or_else(|e| panic!("{e}")).program).bytes()
    });
    let share = half as f64 / single as f64;
    assert!(share < 0.55, "{share}");
}

/// Steps whose gradients overflow change no weight and halve the loss scale until they do not;
/// the run then continues as usual.
#[test]
fn the_scale_of_the_loss_finds_itself() {
    for (device, precision) in precisions() {
        if precision == Precision::F32 {
            continue;
        }
        for micro_batch in [None, Some(4)] {
            let mut run = Run::new(8, 64, 8);
            run.options.passes.precision = precision;
            run.options.micro_batch = micro_batch;
            run.options.recipe.ema = Some(0.9);
            run.options.recipe.clip_grad_norm = Some(1.0);
            let mut start = run.start();
            let too_much = LossScale {
                scale: 2f32.powi(30),
                ..LossScale::initial()
            };
            start.position.loss_scale = Some(too_much.to_words());
            let mut trainer = run.trainer(device, &start);
            pollster::block_on(trainer.step()).unwrap();
            let after = pollster::block_on(trainer.snapshot()).unwrap();
            let state = LossScale::from_words(&after.position.loss_scale.unwrap());
            assert_eq!(
                (state.scale, state.skipped),
                (2f32.powi(29), 1),
                "{state:?}"
            );
            for name in start.optimizer[&TensorKind::Momentum].keys() {
                assert_eq!(start.weights[name], after.weights[name], "{name}");
            }
            assert!(
                start.optimizer == after.optimizer,
                "the velocity has changed"
            );
            assert!(
                after.result() == &start.weights,
                "the averages have changed"
            );
            let epochs = pollster::block_on(finish(trainer));
            let (_, last) = &epochs[2];
            let state = LossScale::from_words(&last.position.loss_scale.unwrap());
            // Loss weights of an eighth times the scale must fit the range of halves.
            assert!(state.scale <= 2f32.powi(22), "{}: {state:?}", device.name());
            assert_eq!(state.scale, 2f32.powi(30 - state.skipped as i32));
            assert!(after.weights != last.weights, "{}", device.name());
            assert!(after.averages != last.averages, "{}", device.name());
        }
    }
}
