//! Synchronised batch norm: replicas compute what one device computes on the whole batch.

use pyr_wgpu::engine::{self, Device, TensorKind, Tensors};
use pyr_wgpu::graph::{ActivationCheckpointing, Arena, PartEnd, Passes, Precision, ValueId};
use pyr_wgpu::model::{Layer, LayerKind};
use pyr_wgpu::train::{Snapshot, TrainError, Trainer};

use crate::check_update;
use crate::common::ranks::on_ranks;
use crate::common::runs::{Run, bits, devices, finish, learnt};
use crate::common::{fast_devices, gpu};
use crate::ranks::epochs;
use crate::replicas::{shared, steps, wide};

/// A run whose devices have common statistics.
fn synchronized(run: &Run) -> Run {
    let mut run = run.clone();
    run.options.sync_batch_norm = true;
    run
}

/// Parameters, running statistics and velocities.
fn everything(snapshot: &Snapshot) -> Tensors {
    let momentum = &snapshot.optimizer[&TensorKind::Momentum];
    let momentum = momentum.iter();
    let renamed = momentum.map(|(name, values)| (format!("momentum of {name}"), values.clone()));
    snapshot
        .weights
        .clone()
        .into_iter()
        .chain(renamed)
        .collect()
}

fn check(what: &str, run: &Run, found: &Snapshot, expected: &Snapshot) {
    let before = run.start();
    let [before, found, expected] = [&before, found, expected].map(everything);
    check_update(what, &before, &found, &expected);
}

/// Equal and unequal shares, all fusions and none, recomputed activations, frozen stages; the gradients
/// and the running statistics are those of one device.
#[test]
fn replicas_equal_one_device_with_the_whole_batch() {
    let units = ActivationCheckpointing::Units;
    for device in devices() {
        let cases: [(&[u32], Passes, Option<u32>); 5] = [
            (&[1, 1], Passes::default(), None),
            (&[1, 1, 1, 1], Passes::default(), Some(1)),
            (&[5, 2, 1], Passes::default(), None),
            (
                &[3, 1],
                Passes {
                    fuse: false,
                    ..Passes::default()
                },
                None,
            ),
            (
                &[1, 3],
                Passes {
                    checkpointing: units,
                    ..Passes::default()
                },
                None,
            ),
        ];
        for (shares, passes, frozen) in cases {
            let mut run = Run::new(8, 24, 8);
            run.options.passes = passes;
            run.frozen = frozen;
            let expected = steps(&mut run.trainer(device, &run.start()), 1);
            run.options.shares = shares.to_vec();
            let several = vec![device.clone(); shares.len()];
            let what = format!("{shares:?} on {}, {passes:?}", device.name());
            let run = synchronized(&run);
            let found = steps(&mut run.trainer_on(&several, &run.start()), 1);
            check(&what, &run, &found, &expected);
        }
    }
}

/// Replicas without common statistics do not: the test above could not fail otherwise.
#[test]
fn without_it_statistics_are_those_of_the_share() {
    let run = Run::new(8, 24, 8);
    let device = Device::cpu();
    let whole = steps(&mut run.trainer(&device, &run.start()), 1);
    let several = vec![device.clone(); 2];
    let shares = steps(&mut run.trainer_on(&several, &run.start()), 1);
    let mean = |state: &Snapshot| state.weights["bn1.running_var"].clone();
    let pairs = mean(&whole).into_iter().zip(mean(&shares));
    let different = pairs.filter(|(a, b)| (a - b).abs() > 1e-3 * a.abs());
    assert!(different.count() > 0);
}

/// The first device has no image of the last batch, and yet its running statistics, which are those of
/// the run.
#[test]
fn devices_without_images_have_the_running_statistics() {
    for device in devices() {
        let mut run = synchronized(&Run::new(8, 19, 8));
        let expected = steps(&mut run.trainer(device, &run.start()), 3);
        run.options.shares = vec![1, 7];
        let several = vec![device.clone(); 2];
        let mut trainer = run.trainer_on(&several, &run.start());
        let found = steps(&mut trainer, 3);
        check(&device.name(), &run, &found, &expected);
        assert_eq!(
            found.position.batches_tracked,
            expected.position.batches_tracked
        );
        let all = trainer.engines().map(|engine| {
            let read = engine.read_arena(Arena::Statistics);
            pollster::block_on(read).unwrap()
        });
        let all: Vec<Vec<f32>> = all.collect();
        assert_eq!(all[0], all[1]);
    }
}

/// A share of one image is enough where maps have one pixel.
#[test]
fn single_values_have_common_statistics() {
    for device in devices() {
        let mut run = Run::new(4, 8, 8);
        let expected = steps(&mut run.trainer(device, &run.start()), 1);
        run.options.shares = vec![7, 1];
        let run = synchronized(&run);
        let several = vec![device.clone(); 2];
        let found = steps(&mut run.trainer_on(&several, &run.start()), 1);
        check(&device.name(), &run, &found, &expected);
    }
}

/// A bucket that begins with the scale and shift of a batch norm is complete just before their sums are
/// reduced for its input's gradient: both ends of a part are noticed.
#[test]
fn buckets_may_end_at_reductions() {
    let device = Device::cpu();
    let several = [device.clone(), device.clone()];
    let mut run = synchronized(&Run::new(8, 8, 8));
    run.spec.depth = 20;
    let ends_at_reduction = |run: &Run| {
        let (train, test) = (run.train_source(), run.test_source());
        let graphs = Trainer::graphs(&several, None, &run.network(), &run.options, &train, &test);
        let graph = &graphs.unwrap()[0];
        let parts = graph.parts();
        let mut sums: Vec<ValueId> = Vec::new();
        for part in &parts {
            if let PartEnd::Sums(number) = part.end {
                sums.extend(&graph.nodes[number].outputs);
            }
        }
        sums.sort_unstable();
        assert_eq!(sums, graph.arena(Arena::Sums), "alpha {}", run.spec.alpha);
        parts.iter().any(|part| part.nodes.is_empty())
    };
    let alphas = (90..140).filter(|alpha| {
        run.spec.alpha = f64::from(*alpha);
        ends_at_reduction(&run)
    });
    let alphas: Vec<u32> = alphas.collect();
    run.spec.alpha = f64::from(*alphas.first().expect("one of fifty networks"));
    let expected = steps(&mut run.trainer(&device, &run.start()), 1);
    let found = steps(&mut run.trainer_on(&several, &run.start()), 1);
    check(
        &format!("alpha {}", run.spec.alpha),
        &run,
        &found,
        &expected,
    );
}

/// Half-precision activations: all roundings of an activation are the same on one device and on
/// several, unless its statistics are rounded differently and it lies between two halves.
#[test]
fn half_precision_is_close_to_one_device() {
    let Some(device) = gpu() else { return };
    let mut run = Run::new(8, 24, 8);
    run.options.passes.precision = Precision::F16;
    let expected = steps(&mut run.trainer(device, &run.start()), 1);
    let several = vec![device.clone(); 2];
    let run = synchronized(&run);
    let found = steps(&mut run.trainer_on(&several, &run.start()), 1);
    let pairs = found.weights.iter().flat_map(|(name, values)| {
        let expected = expected.weights[name].iter();
        values.iter().zip(expected)
    });
    let (mut distance, mut length) = (0.0, 0.0);
    for (found, expected) in pairs {
        distance += f64::from(found - expected).powi(2);
        length += f64::from(*expected).powi(2);
    }
    assert!(distance <= 1e-6 * length, "{distance} of {length}");
}

/// Micro-batches of the same number have common statistics: with as many images in each as there are in
/// a micro-batch of one device, whose images are the same.
#[test]
fn micro_batches_of_the_same_number_have_common_statistics() {
    for device in fast_devices() {
        let mut run = synchronized(&Run::new(8, 8, 8));
        run.options.micro_batch = Some(2);
        let several = vec![device.clone(); 2];
        let found = steps(&mut run.trainer_on(&several, &run.start()), 1);
        // Each replica has half of the batch, so the first micro-batches are images 0, 1, 4 and 5.
        let order = &run.order(1)[0];
        let together = [0, 1, 4, 5, 2, 3, 6, 7].map(|at| order[at]);
        let mut other = run.clone();
        other.replaced = Some([order.clone(), together.to_vec()]);
        other.options.micro_batch = Some(4);
        let expected = steps(&mut other.trainer(device, &run.start()), 1);
        check(device.name().as_str(), &run, &found, &expected);
    }
}

/// Different devices, and replicas that have no image of the last batch: all keep the same parameters.
#[test]
fn different_devices_have_common_statistics() {
    let mut lists = vec![vec![Device::cpu(), Device::Reference, Device::cpu()]];
    lists.extend(gpu().map(|gpu| vec![gpu.clone(), Device::cpu(), gpu.clone()]));
    for several in lists {
        let run = Run::new(8, 17, 8);
        let expected = steps(&mut run.trainer(&several[0], &run.start()), 3);
        let run = synchronized(&run);
        let mut trainer = run.trainer_on(&several, &run.start());
        let found = steps(&mut trainer, 3);
        assert_eq!(found.position.totals().images, 17);
        let [ours, theirs] = [&found, &expected].map(|state| state.position.totals());
        assert!((ours.loss - theirs.loss).abs() <= 1e-4 * theirs.loss);
        check("three steps", &run, &found, &expected);
    }
}

/// A run that stops within an epoch resumes to the same bits.
#[test]
fn a_run_resumes_to_the_same_bits() {
    for device in devices() {
        let several = vec![device.clone(); 2];
        let mut run = synchronized(&Run::random(8, 20, 8));
        run.options.micro_batch = Some(3);
        let whole = pollster::block_on(finish(run.trainer_on(&several, &run.start())));
        let state = steps(&mut run.trainer_on(&several, &run.start()), 2);
        let rest = pollster::block_on(finish(run.trainer_on(&several, &state)));
        for ((ours, state), (reference, expected)) in rest.iter().zip(&whole) {
            assert_eq!(learnt(ours), learnt(reference), "{}", device.name());
            assert!(bits(state) == bits(expected), "{}", device.name());
        }
    }
}

/// Ranks compute the bits of one process with as many devices, whatever the number of devices of each.
#[test]
fn ranks_equal_one_process() {
    for device in fast_devices() {
        for counts in [&[1, 1][..], &[1, 1, 1], &[2, 1]] {
            let mut run = synchronized(&Run::random(8, 17, 8));
            run.options.micro_batch = Some(2);
            // The first replica has no image of the last batch, and of some micro-batches.
            run.options.shares = vec![3; counts.iter().sum()];
            run.options.shares[0] = 1;
            let found = on_ranks(counts.len(), |ranks| {
                let own = vec![device.clone(); counts[ranks.rank()]];
                ranks.set_replicas(own.len()).unwrap();
                epochs(&mut run.trainer_of(&own, Some(ranks), &run.start()), 2)
            });
            let all = vec![device.clone(); counts.iter().sum()];
            let (expected, tested) = epochs(&mut run.trainer_on(&all, &run.start()), 2);
            assert_eq!(bits(&found[0].0), bits(&expected), "{counts:?}");
            for (state, totals) in &found {
                assert!(shared(&run, state) == shared(&run, &expected));
                assert_eq!(*totals, tested);
            }
        }
    }
}

/// The same with gradients that leave in several buckets.
#[test]
fn ranks_exchange_buckets() {
    let device = Device::cpu();
    for (counts, sync_batch_norm) in [(&[1, 1][..], false), (&[2, 1], false), (&[1, 1], true)] {
        let mut run = wide(17);
        // Each rank adds a mebibyte of a bucket at least.
        run.spec.alpha = 300.0;
        run.options.sync_batch_norm = sync_batch_norm;
        let found = on_ranks(counts.len(), |ranks| {
            let own = vec![device.clone(); counts[ranks.rank()]];
            ranks.set_replicas(own.len()).unwrap();
            let mut trainer = run.trainer_of(&own, Some(ranks), &run.start());
            let ends = trainer.engine().part_ends(0).iter();
            let sums = ends.filter(|end| matches!(end, engine::PartEnd::Sums(_)));
            assert!(sums.count() > 1);
            steps(&mut trainer, 3)
        });
        let all = vec![device.clone(); counts.iter().sum()];
        let expected = steps(&mut run.trainer_on(&all, &run.start()), 3);
        for state in &found {
            assert!(shared(&run, state) == shared(&run, &expected), "{counts:?}");
        }
    }
}

/// A NaN on one device reaches all, and the run ends; no weight changes.
#[test]
fn divergence_ends_the_run() {
    for device in devices() {
        let mut run = synchronized(&Run::new(8, 16, 8));
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

/// Each batch norm has a reduction in the forward pass and one in the backward pass, and none in the
/// evaluation.
#[test]
fn every_batch_norm_is_reduced_twice() {
    let run = synchronized(&Run::new(8, 8, 8));
    let trainer = run.trainer_on(&[Device::cpu(), Device::cpu()], &run.start());
    let network = run.network();
    let is_norm = |layer: &&Layer| matches!(layer.kind, LayerKind::BatchNorm { .. });
    let norms = network.layers().filter(is_norm).count();
    let reductions = |graph| {
        let ends = trainer.engine().part_ends(graph).iter();
        let reductions = ends.filter(|end| matches!(end, engine::PartEnd::Reduction(_)));
        reductions.count()
    };
    assert_eq!(reductions(0), 2 * norms);
    assert_eq!(reductions(2), 0);
}

/// One device has the whole batch already.
#[test]
fn one_device_computes_the_same_bits() {
    let run = Run::random(8, 16, 8);
    let end = |run: &Run| {
        let mut trainer: Trainer = run.trainer(&Device::cpu(), &run.start());
        bits(&steps(&mut trainer, 2))
    };
    assert!(end(&run) == end(&synchronized(&run)));
}
