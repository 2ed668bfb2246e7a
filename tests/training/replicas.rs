//! Several devices: each has a replica of the network and computes a share of every batch.

use pyr_wgpu::engine::{Device, PartEnd, TensorKind, Tensors};
use pyr_wgpu::graph::{self, Arena, Node, Op, Part};
use pyr_wgpu::train::{Snapshot, TrainError, Trainer};

use crate::check_update;
use crate::common::runs::{Run, bits, devices, finish, learnt, precisions};
use crate::common::{fast_devices, gpu};

/// What all replicas share: the trained tensors, and the optimiser's state.
pub(crate) fn shared(run: &Run, snapshot: &Snapshot) -> Vec<(String, Vec<u32>)> {
    let trained = run.network().trained_parameters().into_iter();
    let bits = |values: &Vec<f32>| values.iter().map(|value| value.to_bits()).collect();
    trained
        .flat_map(|parameter| {
            let momentum = &snapshot.optimizer[&TensorKind::Momentum];
            let tensors = [&snapshot.weights, momentum];
            tensors.map(|tensors| (parameter.name.clone(), bits(&tensors[&parameter.name])))
        })
        .collect()
}

pub(crate) fn steps(trainer: &mut Trainer, count: usize) -> Snapshot {
    pollster::block_on(async {
        for _ in 0..count {
            if trainer.epoch_done() {
                trainer.next_epoch();
            }
            trainer.step().await.unwrap();
        }
        trainer.snapshot().await.unwrap()
    })
}

/// Replicas on equal devices compute the bits of one device with micro-batches of the shares' size,
/// whose gradients are added in the same order. (The reference adds those in double precision.)
#[test]
fn replicas_equal_micro_batches() {
    let is_single = |(device, _): &(&Device, _)| !matches!(device, Device::Reference);
    for (device, precision) in precisions().into_iter().filter(is_single) {
        for count in [2, 4] {
            let mut run = Run::random(8, 24, 8);
            run.options.passes.precision = precision;
            let several = vec![device.clone(); count];
            let mut replicas = run.trainer_on(&several, &run.start());
            assert_eq!(replicas.shares(), vec![8 / count; count]);
            let found = steps(&mut replicas, 4);
            run.options.micro_batch = Some(8 / count);
            let expected = steps(&mut run.trainer(device, &run.start()), 4);
            let what = format!("{count} times {}, {precision}", device.name());
            assert!(shared(&run, &found) == shared(&run, &expected), "{what}");
            // The sums of the losses are rounded in another order.
            let [ours, theirs] = [&found, &expected].map(|state| state.position.totals());
            assert_eq!(
                (ours.images, ours.top1),
                (theirs.images, theirs.top1),
                "{what}"
            );
            let difference = (ours.loss - theirs.loss).abs();
            assert!(
                difference <= 24.0 * f64::from(f32::EPSILON) * theirs.loss,
                "{what}"
            );
        }
    }
}

/// A batch that cannot be divided equally, and one with fewer images than devices.
#[test]
fn unequal_shares_equal_micro_batches() {
    for device in fast_devices() {
        let mut run = Run::new(8, 17, 8);
        let several = vec![device.clone(); 3];
        let mut replicas = run.trainer_on(&several, &run.start());
        assert_eq!(replicas.shares(), [3, 3, 2]);
        let found = steps(&mut replicas, 2);
        // The same shares as micro-batches.
        run.options.micro_batch = Some(3);
        let expected = steps(&mut run.trainer(device, &run.start()), 2);
        assert!(
            shared(&run, &found) == shared(&run, &expected),
            "{}",
            device.name()
        );
        // The last batch has one image: two replicas have none.
        let last = steps(&mut replicas, 1);
        assert_eq!(last.position.totals().images, 17);
        assert!(shared(&run, &last) != shared(&run, &found));
    }
}

/// A network whose gradients, of three megabytes, leave in several buckets.
pub(crate) fn wide(images: usize) -> Run {
    let mut run = Run::new(8, images, 8);
    run.spec.alpha = 180.0;
    run
}

/// Gradients that leave while the backward pass goes on are those of one device with micro-batches, also
/// where a replica has several micro-batches, none, or statistics of all replicas.
#[test]
fn gradients_leave_in_buckets() {
    for device in fast_devices() {
        let mut run = wide(17);
        let several = vec![device.clone(); 2];
        let mut replicas = run.trainer_on(&several, &run.start());
        let ends = replicas.engine().part_ends(0);
        let sums = ends.iter().map(|end| match end {
            PartEnd::Sums(range) => range.clone(),
            PartEnd::Reduction(_) | PartEnd::Nothing => unreachable!("all parts end with sums"),
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.len() > 2, "{sums:?}");
        // The last layers' come first.
        assert_eq!(sums.last().unwrap().start, 0);
        assert!(sums.windows(2).all(|pair| pair[1].end <= pair[0].start));
        // The last of three batches has one image.
        let found = steps(&mut replicas, 3);
        run.options.micro_batch = Some(4);
        let expected = steps(&mut run.trainer(device, &run.start()), 3);
        let name = device.name();
        assert!(shared(&run, &found) == shared(&run, &expected), "{name}");

        let before = run.start();
        for (micro_batch, sync_batch_norm) in [(Some(2), false), (None, true)] {
            run.options.micro_batch = micro_batch;
            let expected = steps(&mut run.trainer(device, &before), 1);
            run.options.sync_batch_norm = sync_batch_norm;
            let found = steps(&mut run.trainer_on(&several, &before), 1);
            let trained = run.network().trained_parameters().into_iter();
            let names: Vec<String> = trained.map(|parameter| parameter.name).collect();
            let of = |state: &Snapshot| -> Tensors {
                let tensors = names
                    .iter()
                    .map(|name| (name.clone(), state.weights[name].clone()));
                tensors.collect()
            };
            check_update(&name, &of(&before), &of(&found), &of(&expected));
        }
    }
}

/// Each part of the backward pass ends with the gradients that it computes.
#[test]
fn buckets_are_spread_over_the_backward_pass() {
    let run = wide(16);
    let devices = [Device::cpu(), Device::cpu()];
    let (train, test) = (run.train_source(), run.test_source());
    let graphs = Trainer::graphs(&devices, None, &run.network(), &run.options, &train, &test);
    let graph = &graphs.unwrap()[0];
    for Part { nodes: part, end } in graph.parts() {
        assert_eq!(end, graph::PartEnd::Sums(part.end - 1));
        let weights = |node: &Node| matches!(node.op, Op::Conv2dGradWeight(_));
        let last = graph.nodes[part.clone()].iter().rposition(weights);
        let after = part.len() - last.expect("each has the weights of a layer");
        // Between them lie gradients of batch norm, and the gradient of the layer's input at most.
        assert!(after <= 6, "{part:?} of {}", graph.nodes.len());
    }
}

/// A run that stops in the middle of an epoch and resumes on the same devices ends with the same
/// bits, however often its metrics are read: also if the devices round differently.
#[test]
fn a_run_on_several_devices_resumes_to_the_same_bits() {
    let mut lists: Vec<Vec<Device>> = Vec::new();
    for device in devices() {
        lists.push(vec![device.clone(); 2]);
    }
    lists.extend(gpu().map(|gpu| vec![gpu.clone(), Device::cpu(), Device::Reference]));
    for several in lists {
        let names: Vec<String> = several.iter().map(Device::name).collect();
        let run = Run::random(8, 20, 8);
        let whole = pollster::block_on(finish(run.trainer_on(&several, &run.start())));
        let mut first = run.trainer_on(&several, &run.start());
        let state = pollster::block_on(async {
            for _ in 0..2 {
                first.step().await.unwrap();
                first.collect().await.unwrap();
            }
            first.snapshot().await.unwrap()
        });
        assert_eq!(state.position.totals().images, 16);
        let rest = pollster::block_on(finish(run.trainer_on(&several, &state)));
        assert_eq!(whole.len(), rest.len());
        for ((ours, state), (reference, expected)) in rest.iter().zip(&whole) {
            assert_eq!(learnt(ours), learnt(reference), "{names:?}");
            assert!(bits(state) == bits(expected), "{names:?}");
        }
    }
}

/// Devices that round differently keep the same parameters all the same.
#[test]
fn different_devices_keep_the_same_parameters() {
    let Some(gpu) = gpu() else { return };
    let run = Run::random(8, 24, 8);
    let mut trainer = run.trainer_on(&[Device::cpu(), gpu.clone()], &run.start());
    for steps_done in 0..3 {
        steps(&mut trainer, 1);
        let parameters = trainer.engines().map(|engine| {
            let numbers = pollster::block_on(engine.read_arena(Arena::Parameters)).unwrap();
            numbers.iter().map(|number| number.to_bits()).collect()
        });
        let parameters: Vec<Vec<u32>> = parameters.collect();
        assert!(
            parameters[0] == parameters[1],
            "after {steps_done} more steps"
        );
    }
}

/// Devices of different kinds.
#[test]
fn different_devices_train_together() {
    let Some(gpu) = gpu() else { return };
    let mut run = Run::new(8, 24, 8);
    let mixed = [gpu.clone(), Device::cpu()];
    let found = steps(&mut run.trainer_on(&mixed, &run.start()), 1);
    run.options.micro_batch = Some(4);
    let expected = steps(&mut run.trainer(gpu, &run.start()), 1);
    let trained = |snapshot: &Snapshot| -> Tensors {
        let momentum = &snapshot.optimizer[&TensorKind::Momentum];
        momentum
            .keys()
            .map(|name| (name.clone(), snapshot.weights[name].clone()))
            .collect()
    };
    let before = run.start();
    let [before, found, expected] = [&before, &found, &expected].map(trained);
    check_update("a GPU and the CPU", &before, &found, &expected);
}

/// A NaN or infinity on one of the devices ends the run; no weight changes.
#[test]
fn divergence_on_any_device_is_noticed() {
    for device in devices() {
        let mut run = Run::new(8, 16, 8);
        run.options.recipe.learning_rate = 1e30;
        let mut trainer = run.trainer_on(&vec![device.clone(); 2], &run.start());
        let error = pollster::block_on(async {
            for _ in 0..3 {
                if trainer.epoch_done() {
                    trainer.next_epoch();
                }
                trainer.step().await?;
            }
            trainer.collect().await
        });
        let error = error.unwrap_err();
        assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    }
}

/// Shares in proportion: the images of a batch go to the devices in order, and the result is that of the
/// reference with the same shares.
#[test]
fn shares_follow_their_weights() {
    let several = |device: &Device| vec![device.clone(); 2];
    let mut run = Run::random(8, 16, 8);
    run.options.shares = vec![1, 3];
    let mut reference = run.trainer_on(&several(&Device::Reference), &run.start());
    assert_eq!(reference.shares(), [2, 6]);
    let expected = steps(&mut reference, 1);
    for device in fast_devices() {
        let found = steps(&mut run.trainer_on(&several(device), &run.start()), 1);
        let before = run.start().weights;
        let name = device.name();
        check_update(&name, &before, &found.weights, &expected.weights);
        let mut equal = Run::random(8, 16, 8);
        let plain = steps(&mut equal.trainer_on(&several(device), &equal.start()), 3);
        equal.options.shares = vec![5, 5];
        let given = steps(&mut equal.trainer_on(&several(device), &equal.start()), 3);
        assert!(bits(&plain) == bits(&given), "{name}");
        let mut first = Run::random(8, 16, 8);
        first.options.shares = vec![3, 1];
        let other = steps(&mut first.trainer_on(&several(device), &first.start()), 1);
        assert!(
            shared(&run, &other) != shared(&run, &found),
            "{name}: statistics of other images"
        );
    }
}
