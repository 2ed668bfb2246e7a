//! Frozen layers: they stay as they are, cost no backward pass, and the others are trained as if the
//! frozen ones were a fixed function.

use std::collections::BTreeSet;

use pyr_wgpu::engine::{Device, Tensors};
use pyr_wgpu::graph::{Graph, Op, Passes, Precision};
use pyr_wgpu::model::{Input, ParameterRole};
use pyr_wgpu::train::{Mode, step_graph};
use pyr_wgpu::verify::{self, Difference};

use crate::common::runs::{Run, finish, precisions};

fn frozen(stages: u32) -> Run {
    let mut run = Run::new(8, 24, 8);
    run.frozen = Some(stages);
    run
}

/// With everything that follows an update as well.
fn frozen_with_options(stages: u32) -> Run {
    let mut run = frozen(stages);
    run.spec.shakedrop = 0.6;
    run.options.recipe.clip_grad_norm = Some(1.0);
    run.options.recipe.ema = Some(0.8);
    run
}

/// Names of the tensors that training may change.
fn trained(run: &Run) -> BTreeSet<String> {
    let network = run.network();
    let layers = network.layers().filter(|layer| !network.is_frozen(layer));
    let parameters = layers.flat_map(|layer| layer.parameters());
    let values = parameters.filter(|parameter| parameter.role != ParameterRole::BatchesTracked);
    values.map(|parameter| parameter.name).collect()
}

#[test]
fn frozen_tensors_keep_their_bits() {
    for (device, precision) in precisions() {
        for (stages, micro_batch) in [(0, None), (2, None), (3, Some(4))] {
            let mut run = frozen_with_options(stages);
            run.options.passes.precision = precision;
            run.options.micro_batch = micro_batch;
            let before = run.start();
            let epochs = pollster::block_on(finish(run.trainer(device, &before)));
            let after = &epochs.last().unwrap().1;
            let trained = trained(&run);
            assert!(trained.len() < before.weights.len());
            for (name, values) in &before.weights {
                let same = values.iter().zip(&after.weights[name]);
                let same = same.filter(|(a, b)| a.to_bits() == b.to_bits()).count();
                let what = format!("{}: {stages} stages, {name}", device.name());
                match trained.contains(name) {
                    // Batch norm starts at 0 and 1, so each value moves; a weight may stay.
                    true => assert!(same < values.len(), "{what}"),
                    false => assert_eq!(same, values.len(), "{what}"),
                }
                // Averages follow what is trained, and equal what is frozen.
                let averages = &after.averages.as_ref().unwrap()[name];
                let moved = averages
                    .iter()
                    .zip(values)
                    .filter(|(a, b)| a.to_bits() != b.to_bits());
                assert_eq!(moved.count() > 0, trained.contains(name), "{what}");
            }
            let momentum: BTreeSet<&String> =
                after.optimizer.values().flat_map(|t| t.keys()).collect();
            assert!(momentum.iter().all(|name| trained.contains(*name)));
        }
    }
}

/// Kinds of the nodes of a step, and how many there are.
fn count(graph: &Graph, matches: impl Fn(&Op) -> bool) -> usize {
    graph.nodes.iter().filter(|node| matches(&node.op)).count()
}

#[test]
fn frozen_layers_have_no_backward_pass() {
    let step = |run: &Run| {
        // Fused, an update of running statistics is a part of other nodes.
        let passes = Passes {
            fuse: false,
            ..Passes::default()
        };
        step_graph(&run.network(), 8, &Input::Tensor, Mode::Train, passes).unwrap()
    };
    let weight_gradients = |graph: &Graph| count(graph, |op| matches!(op, Op::Conv2dGradWeight(_)));
    let input_gradients = |graph: &Graph| count(graph, |op| matches!(op, Op::Conv2dGradInput(_)));
    let updates = |graph: &Graph| count(graph, |op| matches!(op, Op::RunningAverage(_)));
    let whole = step(&Run::new(8, 24, 8));
    // Three units of two convolutions, the stem and the classifier.
    assert_eq!((weight_gradients(&whole), input_gradients(&whole)), (8, 7));
    let two = step(&frozen(2));
    assert_eq!((weight_gradients(&two), input_gradients(&two)), (3, 3));
    let three = step(&frozen(3));
    assert_eq!((weight_gradients(&three), input_gradients(&three)), (1, 1));
    assert!(updates(&three) < updates(&two) && updates(&two) < updates(&whole));
}

/// The gradients of the trained parameters, against the interpreter in double precision.
#[test]
fn gradients_of_the_trained_layers_agree() {
    let run = frozen(2);
    let mut weights = run.start().weights;
    // Running statistics away from 0 and 1, so that those of the batch would show.
    for (name, values) in &mut weights {
        for (index, value) in values.iter_mut().enumerate() {
            let shift = 0.1 + 0.05 * (index % 5) as f32;
            match name.rsplit('.').next() {
                Some("running_mean") => *value = shift - 0.2,
                Some("running_var") => *value = 1.0 + shift,
                _ => {}
            }
        }
    }
    let batch = run.batch(&[0, 1, 2, 3, 4, 5, 6, 7]);
    let gradients = |device: &Device| -> Tensors {
        let network = run.network();
        pollster::block_on(verify::gradients(device, &network, &weights, &batch)).unwrap()
    };
    let expected = gradients(&Device::Reference);
    let trained = trained(&run);
    assert!(expected.keys().all(|name| trained.contains(name)));
    for (device, precision) in precisions() {
        if precision == Precision::F16 {
            continue;
        }
        let distance = Difference::of_tensors(&gradients(device), &expected);
        // The tolerance of the comparison with PyTorch.
        assert!(distance.rel_l2 <= 5e-5, "{}: {distance:?}", device.name());
    }
}
