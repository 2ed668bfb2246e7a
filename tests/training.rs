//! Training as a whole: it learns, is reproducible, resumes, and its steps are the recipe's.

mod common;

use std::sync::Arc;

use common::runs::{CLASSES, Memory, Run, bits, devices, finish, learnt, precisions, session};
use pyr_wgpu::data::{DataError, EpochKey, Source};
use pyr_wgpu::engine::{Device, EngineError, TensorKind, Tensors, built_in};
use pyr_wgpu::gpu::GpuError;
use pyr_wgpu::graph::ops::LossScale;
use pyr_wgpu::graph::{ActivationCheckpointing, Precision};
use pyr_wgpu::train::{Evaluator, EvaluatorOptions, Recipe, Snapshot, TrainError, Trainer};
use pyr_wgpu::verify::{self, Difference};

#[test]
fn one_batch_is_learnt_by_heart() {
    for (device, precision) in precisions() {
        let mut run = Run::new(8, 8, 8);
        run.options.passes.precision = precision;
        run.options.recipe.epochs = 40;
        run.options.recipe.milestones = vec![30];
        let epochs = pollster::block_on(finish(run.trainer(device, &run.start())));
        let (first, last) = (&epochs[0].0, &epochs[39].0);
        // At the start the classes are about equally likely.
        assert!(first.train_loss > 1.0, "{}: {first:?}", device.name());
        assert!(last.train_loss < 0.01, "{}: {last:?}", device.name());
        assert_eq!(last.train_top1_error, 0.0, "{}", device.name());
    }
}

/// A run that stops in the middle of an epoch and resumes from its snapshot alone ends with the
/// bits of an uninterrupted run.
#[test]
fn a_resumed_run_equals_an_uninterrupted_one() {
    let cases = precisions().into_iter();
    for ((device, precision), resident) in cases.flat_map(|d| [(d, true), (d, false)]) {
        for micro_batch in [None, Some(3)] {
            let mut run = Run::random(8, 20, 8);
            run.options.passes.precision = precision;
            run.resident = resident;
            run.options.micro_batch = micro_batch;
            let what = format!(
                "{}, {precision}, resident {resident}, micro {micro_batch:?}",
                device.name()
            );
            pollster::block_on(async {
                let whole = finish(run.trainer(device, &run.start())).await;
                assert_eq!(whole.len(), 3);

                let mut first = run.trainer(device, &run.start());
                assert_eq!(first.steps_per_epoch(), 3);
                for _ in 0..3 {
                    first.step().unwrap();
                }
                first.next_epoch();
                for _ in 0..2 {
                    first.step().unwrap();
                }
                let snapshot = first.snapshot().await.unwrap();
                assert_eq!((snapshot.position.epoch, snapshot.position.step), (2, 2));
                assert_eq!(snapshot.position.totals().images, 16);
                drop(first);

                let mut second = run.trainer(device, &snapshot);
                assert_eq!(
                    bits(&second.snapshot().await.unwrap()),
                    bits(&snapshot),
                    "{what}"
                );
                let rest = finish(second).await;
                assert_eq!(rest.len(), 2);
                for ((ours, state), (reference, expected)) in rest.iter().zip(&whole[1..]) {
                    assert_eq!(learnt(ours), learnt(reference), "{what}");
                    assert!(bits(state) == bits(expected), "{what}: the bits differ");
                }
                let last = rest[1].1.position;
                let chunks = if micro_batch.is_some() { 8 } else { 3 };
                assert_eq!(
                    (last.epoch, last.step, last.batches_tracked),
                    (4, 0, 3 * chunks),
                    "{what}"
                );
            });
        }
    }
}

#[test]
fn seeds_decide_all_bits() {
    for device in devices() {
        let train = |seed: u64, start: &Snapshot| {
            let mut run = Run::random(8, 12, 8);
            run.options.seed = seed;
            run.options.recipe.epochs = 2;
            let epochs = pollster::block_on(finish(run.trainer(device, start)));
            bits(&epochs[1].1)
        };
        let start = Run::random(8, 12, 8).start();
        let reference = train(7, &start);
        assert!(
            train(7, &start) == reference,
            "{}: the same seed gives other bits",
            device.name()
        );
        // Even from the same weights another seed shuffles, crops and drops differently; the
        // upper half of a seed matters too.
        for other in [8, 7 + (1 << 32)] {
            assert!(
                train(other, &start) != reference,
                "{}: seed {other}",
                device.name()
            );
        }
    }
}

/// Where images are stored and how many threads read them changes no bit; fusion, and a
/// micro-batch of the whole batch, change at most the rounding.
#[test]
fn what_must_not_matter_does_not() {
    for device in devices() {
        let train = |change: &dyn Fn(&mut Run)| {
            let mut run = Run::random(8, 12, 8);
            run.options.recipe.epochs = 1;
            change(&mut run);
            pollster::block_on(finish(run.trainer(device, &run.start())))
                .remove(0)
                .1
        };
        let reference = train(&|_| {});
        let check = |what: &str, change: &dyn Fn(&mut Run)| {
            let same = bits(&train(change)) == bits(&reference);
            assert!(same, "{}: {what} changes bits", device.name());
        };
        check("sending every batch", &|run| run.resident = false);
        check("reading with five threads", &|run| {
            run.resident = false;
            run.options.workers = 5;
        });
        check("computing units again", &|run| {
            run.options.passes.checkpointing = ActivationCheckpointing::Units;
        });
        check("computing nothing again", &|run| {
            run.options.passes.checkpointing = ActivationCheckpointing::Off;
        });
        let start = Run::random(8, 12, 8).start();
        let resembles = |what: &str, change: &dyn Fn(&mut Run)| {
            let state = train(change);
            let what = format!("{}: {what}", device.name());
            check_update(&what, &start.weights, &state.weights, &reference.weights);
            let [start, state, reference] = [&start, &state, &reference]
                .map(|snapshot| &snapshot.optimizer[&TensorKind::Momentum]);
            check_update(&what, start, state, reference);
        };
        // A driver may contract products and sums in one kernel and not in the other.
        resembles("fusion", &|run| run.options.passes.fuse = false);
        match device {
            // The sum of one gradient is that gradient.
            Device::Gpu(_) | Device::Cpu(_) => {
                check("one micro-batch", &|run| run.options.micro_batch = Some(8))
            }
            // The reference rounds gradients to single precision only at the end of a graph.
            Device::Reference => {
                resembles("one micro-batch", &|run| run.options.micro_batch = Some(8));
            }
        }
    }
}

#[test]
fn memory_stays_as_it_was() {
    for device in devices() {
        let run = Run::random(8, 20, 8);
        let mut session = session(run.trainer(device, &run.start()));
        let bytes = session.trainer().engine().bytes();
        assert!(bytes > 0);
        let mut memory = Memory::default();
        while pollster::block_on(session.next(&mut memory))
            .unwrap()
            .is_some()
        {
            assert_eq!(session.trainer().engine().bytes(), bytes);
        }
        assert_eq!(memory.0.len(), 3);
    }
}

/// Weights and velocities after one step, given the gradient: Torch's Nesterov momentum.
fn sgd(before: &Snapshot, gradient: &Tensors, recipe: &Recipe, epoch: u32) -> (Tensors, Tensors) {
    let [rate, momentum, decay] = [
        recipe.learning_rate(epoch),
        recipe.momentum,
        recipe.weight_decay,
    ]
    .map(f64::from);
    let mut weights = Tensors::new();
    let mut velocities = Tensors::new();
    for (name, gradient) in gradient {
        let mut new_weights = Vec::new();
        let mut new_velocities = Vec::new();
        let state = before.weights[name]
            .iter()
            .zip(&before.optimizer[&TensorKind::Momentum][name]);
        for ((p, v), g) in state.zip(gradient) {
            let (p, v) = (f64::from(*p), f64::from(*v));
            let g = f64::from(*g) + decay * p;
            let v = momentum * v + g;
            new_velocities.push(v as f32);
            new_weights.push((p - rate * (g + momentum * v)) as f32);
        }
        weights.insert(name.clone(), new_weights);
        velocities.insert(name.clone(), new_velocities);
    }
    (weights, velocities)
}

/// Bounds the relative L2 norm of the difference between two updates of the trained tensors.
///
/// Both come from the same kernels; they differ in the rounding of the input, of the weights 1/N
/// and of sums, which batch norm amplifies: by less than the 5e-5 of the comparison with PyTorch.
fn check_update(what: &str, before: &Tensors, ours: &Tensors, expected: &Tensors) {
    let change = |after: &Tensors| -> Vec<f32> {
        let pairs = expected
            .keys()
            .flat_map(|name| after[name].iter().zip(&before[name]));
        pairs.map(|(after, before)| after - before).collect()
    };
    let distance = Difference::between([(change(ours).as_slice(), change(expected).as_slice())]);
    println!("{what}: {distance:?}");
    assert!(distance.rel_l2 <= 5e-5, "{what}: {distance:?}");
    assert!(
        distance.largest > 1e-4,
        "{what}: nothing was updated: {distance:?}"
    );
}

/// Every step of an epoch, the smaller last one included, divides by its own number of
/// images; micro-batches have their own statistics and add up.
#[test]
fn steps_are_those_of_the_recipe() {
    for device in devices() {
        for micro_batch in [None, Some(3)] {
            let mut run = Run::new(8, 11, 8);
            run.options.micro_batch = micro_batch;
            let what = format!("{}, micro {micro_batch:?}", device.name());
            pollster::block_on(async {
                let mut trainer = run.trainer(device, &run.start());
                for (step, indices) in run.order(1).iter().enumerate() {
                    let before = trainer.snapshot().await.unwrap();
                    assert_eq!(trainer.step().unwrap(), indices.len());
                    let after = trainer.snapshot().await.unwrap();
                    assert_eq!(indices.len(), [8, 3][step]);

                    let mut gradient = Tensors::new();
                    for chunk in indices.chunks(micro_batch.unwrap_or(8)) {
                        let batch = run.batch(chunk);
                        let network = run.network();
                        let own = verify::gradients(device, &network, &before.weights, &batch);
                        let share = chunk.len() as f32 / indices.len() as f32;
                        for (name, values) in own.await.unwrap() {
                            let zeros = vec![0.0; values.len()];
                            let sums = gradient.entry(name).or_insert(zeros);
                            sums.iter_mut()
                                .zip(values)
                                .for_each(|(sum, g)| *sum += share * g);
                        }
                    }
                    let (weights, velocities) = sgd(&before, &gradient, &run.options.recipe, 1);
                    let what = format!("{what}, step {step}");
                    check_update(&what, &before.weights, &after.weights, &weights);
                    let [velocity, updated] = [&before, &after]
                        .map(|snapshot| &snapshot.optimizer[&TensorKind::Momentum]);
                    check_update(&what, velocity, updated, &velocities);
                    let chunks = after.position.batches_tracked - before.position.batches_tracked;
                    let expected = indices.len().div_ceil(micro_batch.unwrap_or(8));
                    assert_eq!(chunks, expected as u64, "{what}");
                }
                assert!(trainer.epoch_done());
                assert_eq!(trainer.collect().await.unwrap().images, 11, "{what}");
            });
        }
    }
}

/// The trainer's evaluation is the evaluator's, and both count every image once.
#[test]
fn evaluations_agree() {
    for device in devices() {
        let run = Run::random(8, 20, 8);
        pollster::block_on(async {
            let mut trainer = run.trainer(device, &run.start());
            trainer.step().unwrap();
            let state = trainer.snapshot().await.unwrap();
            let before = state.position.totals();
            assert_eq!(before.images, 8);
            let mut heard = Vec::new();
            let totals = loop {
                let (done, totals) = trainer.evaluate_batch().await.unwrap();
                heard.push(done);
                if let Some(totals) = totals {
                    break totals;
                }
            };
            assert_eq!(heard, [8, 13]);
            assert_eq!(
                trainer.collect().await.unwrap(),
                before,
                "metrics of the epoch"
            );

            for batch_size in [8, 5, 100] {
                let options = EvaluatorOptions {
                    keep_scores: false,
                    batch_size,
                    workers: 2,
                    preprocessing: run.options.preprocessing,
                };
                let evaluator = Evaluator::new(
                    device,
                    &run.network(),
                    &state.weights,
                    options,
                    run.test_source(),
                    built_in,
                );
                let mut evaluator = evaluator.unwrap();
                let evaluation = evaluator.run(|_| {}).await.unwrap();
                let found = evaluation.totals;
                assert_eq!(
                    (found.top1, found.top5, found.images),
                    (totals.top1, totals.top5, 13)
                );
                let distance = (found.loss - totals.loss).abs();
                assert!(distance <= 1e-5 * totals.loss, "{found:?} {totals:?}");
                let rows: Vec<u64> = evaluation
                    .confusion
                    .iter()
                    .map(|row| row.iter().sum())
                    .collect();
                assert_eq!(rows, [3, 3, 3, 2, 2], "images of each class");
                let right: u64 = (0..CLASSES as usize)
                    .map(|c| evaluation.confusion[c][c])
                    .sum();
                assert_eq!(right, totals.top1);
            }
        });
    }
}

/// Images of which one is damaged: another is read in its place.
struct Damaged(Arc<dyn Source>);

const DAMAGED: usize = 11;

impl Source for Damaged {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.0.label(index)
    }

    fn size(&self) -> u32 {
        self.0.size()
    }

    fn read(&self, index: usize, key: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        let read = if index == DAMAGED { 0 } else { index };
        self.0.read(read, key, out)
    }

    fn is_damaged(&self, index: usize) -> bool {
        index == DAMAGED
    }

    fn resident(&self) -> Option<&[u8]> {
        None
    }
}

#[test]
fn a_damaged_image_is_not_evaluated() {
    for device in devices() {
        let run = Run::new(8, 20, 8);
        let state = run.start();
        let options = EvaluatorOptions {
            keep_scores: false,
            batch_size: 8,
            workers: 2,
            preprocessing: run.options.preprocessing,
        };
        let evaluate = |source| {
            let (network, weights) = (run.network(), &state.weights);
            let evaluator = Evaluator::new(device, &network, weights, options, source, built_in);
            pollster::block_on(evaluator.unwrap().run(|_| {})).unwrap()
        };
        let found = evaluate(Arc::new(Damaged(run.test_source())));
        let rows = found.confusion.iter().map(|row| row.iter().sum::<u64>());
        // Thirteen images, of which the second of class 1 is damaged.
        assert_eq!(rows.collect::<Vec<_>>(), [3, 2, 3, 2, 2]);
        assert_eq!(found.totals.images, 12);
        let whole = evaluate(run.test_source()).totals;
        assert!(found.totals.loss < whole.loss, "{found:?} {whole:?}");

        let mut trainer = Trainer::new(
            device,
            run.network(),
            run.options.clone(),
            run.train_source(),
            Arc::new(Damaged(run.test_source())),
            built_in,
        )
        .unwrap();
        trainer.restore(&state);
        let tested = pollster::block_on(async {
            loop {
                if let (_, Some(totals)) = trainer.evaluate_batch().await.unwrap() {
                    break totals;
                }
            }
        });
        assert_eq!((tested.images, tested.top1), (12, found.totals.top1));
    }
}

/// Learning until the weights explode.
#[test]
fn divergence_is_an_error_that_says_what_to_do() {
    for device in devices() {
        let mut run = Run::new(8, 8, 8);
        run.options.recipe.learning_rate = 1e30;
        let mut trainer = run.trainer(device, &run.start());
        let error = pollster::block_on(async {
            for _ in 0..3 {
                trainer.step()?;
                trainer.collect().await?;
                trainer.next_epoch();
            }
            Ok(())
        });
        let error: TrainError = error.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, TrainError::Diverged { .. }), "{text}");
        assert!(
            text.contains("NaN or infinite") && text.contains("--lr"),
            "{text}"
        );
    }
}

/// A change of some elements of a state, by a factor or to a value.
#[derive(Clone, Copy, Debug)]
enum Poison {
    Scale(&'static str, f32),
    Velocity(&'static str, f32),
}

fn poisoned(mut snapshot: Snapshot, poison: &[Poison]) -> Snapshot {
    for poison in poison {
        match *poison {
            Poison::Scale(name, factor) => {
                let values = snapshot.weights.get_mut(name).unwrap();
                values.iter_mut().for_each(|value| *value *= factor);
            }
            Poison::Velocity(name, value) => {
                let momentum = snapshot.optimizer.get_mut(&TensorKind::Momentum);
                momentum.unwrap().get_mut(name).unwrap()[0] = value;
            }
        }
    }
    snapshot
}

/// Bits of all trained tensors.
fn trained(trainer: &Trainer) -> Vec<(String, Vec<u32>)> {
    let weights = trainer
        .engine()
        .read_tensors(trainer.network(), TensorKind::Weights);
    let tensors = pollster::block_on(weights).unwrap().into_iter();
    let trained = tensors.filter(|(name, _)| !name.contains("running"));
    let bits = |values: Vec<f32>| values.iter().map(|value| value.to_bits()).collect();
    trained.map(|(name, values)| (name, bits(values))).collect()
}

fn diverged(trainer: &mut Trainer) -> String {
    match pollster::block_on(trainer.collect()) {
        Err(error @ TrainError::Diverged { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The first NaN or infinity is named with its step, however many steps are submitted before the
/// metrics are read, and none of those changes a weight.
#[test]
fn divergence_is_noticed_in_its_step_and_named() {
    use Poison::{Scale, Velocity};
    let overflowing_gradient: &[Poison] = &[
        Scale("layer1.0.conv2.weight", 1e-36),
        Scale("layer1.0.bn3.weight", 1e35),
        Scale("fc.weight", 1e5),
    ];
    let cases: [(&[Poison], bool, &str); 5] = [
        // Activations overflow.
        (
            &[Scale("layer2.0.conv1.weight", 1e38)],
            true,
            " of layer2.0.bn2 is NaN",
        ),
        // Only their variance does, which would hide them.
        (
            &[Scale("conv1.weight", 1e20)],
            true,
            "the running variance of bn1 is NaN",
        ),
        // Behind the last batch norm.
        (
            &[Scale("bn_final.weight", 1e20), Scale("fc.weight", 1e25)],
            true,
            "the loss of the logits of fc is NaN",
        ),
        (
            overflowing_gradient,
            false,
            "the gradient of layer1.0.conv2.weight is NaN",
        ),
        (
            &[Velocity("fc.bias", 3e38)],
            false,
            "the update of fc.bias is NaN",
        ),
    ];
    for device in devices() {
        for micro_batch in [None, Some(3)] {
            for (poison, in_loss, expected) in cases {
                let what = format!("{}, micro-batch {micro_batch:?}, {poison:?}", device.name());
                let mut run = Run::new(8, 32, 8);
                run.options.micro_batch = micro_batch;
                run.options.recipe.learning_rate = 10.0;
                let mut trainer = run.trainer(device, &run.start());
                trainer.step().unwrap();
                let good = pollster::block_on(trainer.snapshot()).unwrap();
                trainer.restore(&poisoned(good.clone(), poison));
                let before = trained(&trainer);
                trainer.step().unwrap();
                let stopped = trained(&trainer);
                trainer.step().unwrap();
                trainer.step().unwrap();
                assert!(trained(&trainer) == stopped, "{what}: weights change");
                assert!(!in_loss || before == stopped, "{what}: weights change");
                let text = diverged(&mut trainer);
                let place = match (micro_batch, in_loss) {
                    (Some(_), true) => "in epoch 1, step 2, micro-batch 1: ",
                    _ => "in epoch 1, step 2: ",
                };
                assert!(
                    text.contains(place) && text.contains(expected),
                    "{what}: {text}"
                );
                let saved = pollster::block_on(trainer.snapshot());
                assert!(matches!(saved, Err(TrainError::Diverged { .. })), "{what}");
                // The state before is good.
                trainer.restore(&good);
                assert_eq!(
                    pollster::block_on(trainer.snapshot()).unwrap(),
                    good,
                    "{what}"
                );
            }
        }
    }
}

/// One image overflows; its step and micro-batch are named.
#[test]
fn divergence_is_noticed_in_its_micro_batch() {
    for (device, precision) in precisions() {
        for micro_batch in [None, Some(4)] {
            let mut run = Run::new(8, 32, 8);
            run.options.passes.precision = precision;
            run.options.micro_batch = micro_batch;
            run.options.preprocessing.mean = [128.0; 3];
            let image = 13;
            run.contrast = Some(image);
            let start = poisoned(run.start(), &[Poison::Scale("conv1.weight", 1e20)]);
            let mut trainer = run.trainer(device, &start);
            while !trainer.epoch_done() {
                trainer.step().unwrap();
            }
            let order = run.order(1).concat();
            let at = order
                .iter()
                .position(|index| *index == image as u32)
                .unwrap();
            let micro = micro_batch.map(|size| format!(", micro-batch {}", at % 8 / size + 1));
            let place = format!(
                "step {}{}: the running ",
                at / 8 + 1,
                micro.unwrap_or_default()
            );
            let text = diverged(&mut trainer);
            let name = device.name();
            assert!(
                text.contains(&place) && text.contains("of bn1 is NaN"),
                "{name}: {text}"
            );
        }
    }
}

/// With half-precision activations, a gradient that overflows is the fault of the loss scale until
/// that is at its minimum.
#[test]
fn gradients_that_overflow_at_the_smallest_loss_scale_are_named() {
    for (device, _) in precisions().iter().filter(|(_, p)| *p == Precision::F16) {
        for (scale, step) in [(1.0, 2), (2.0, 3)] {
            let mut run = Run::new(8, 32, 8);
            run.options.passes.precision = Precision::F16;
            let mut trainer = run.trainer(device, &run.start());
            trainer.step().unwrap();
            let mut state = pollster::block_on(trainer.snapshot()).unwrap();
            let scale = LossScale {
                scale,
                ..LossScale::initial()
            };
            state.position.loss_scale = Some(scale.to_words());
            trainer.restore(&poisoned(state, &[Poison::Scale("fc.weight", 1e8)]));
            let before = trained(&trainer);
            while !trainer.epoch_done() {
                trainer.step().unwrap();
            }
            assert!(
                trained(&trainer) == before,
                "{}: weights change",
                device.name()
            );
            let text = diverged(&mut trainer);
            let place = format!("epoch 1, step {step}: the gradient of ");
            assert!(
                text.contains(&place) && text.contains("--precision f32"),
                "{}: {text}",
                device.name()
            );
        }
    }
}

/// Whether an error is the loss of the device, and says why.
fn is_loss(error: &TrainError) -> bool {
    let TrainError::Engine(EngineError::Gpu(GpuError::Lost(reason))) = error else {
        return false;
    };
    !reason.is_empty()
}

/// A lost device is an error of the next call that needs it, never a panic or an endless wait. The
/// run continues from its last state on another device, to the same bits.
#[test]
fn a_run_survives_the_loss_of_its_device() {
    let mut run = Run::random(8, 20, 8);
    run.options.recipe.epochs = 2;
    let Some(device) = common::separate_gpu() else {
        return;
    };
    let whole = pollster::block_on(finish(run.trainer(&device, &run.start())));
    type Use = fn(&mut Trainer) -> Result<(), TrainError>;
    let uses: [(&str, Use); 4] = [
        // The host waits for a step when more than a few are in flight.
        ("steps", |trainer| {
            for _ in 0..10 {
                if trainer.epoch_done() {
                    trainer.next_epoch();
                }
                trainer.step()?;
            }
            Ok(())
        }),
        ("metrics", |trainer| {
            pollster::block_on(trainer.collect()).map(drop)
        }),
        ("state", |trainer| {
            pollster::block_on(trainer.snapshot()).map(drop)
        }),
        ("evaluation", |trainer| {
            loop {
                if pollster::block_on(trainer.evaluate_batch())?.1.is_some() {
                    return Ok(());
                }
            }
        }),
    ];
    for (what, call) in uses {
        let device = common::separate_gpu().unwrap();
        let mut trainer = run.trainer(&device, &run.start());
        trainer.step().unwrap();
        let saved = pollster::block_on(trainer.snapshot()).unwrap();
        trainer.step().unwrap();
        if what == "evaluation" {
            pollster::block_on(trainer.evaluate_batch()).unwrap();
        }
        common::destroy(&device);
        let error = call(&mut trainer).expect_err(what);
        assert!(is_loss(&error), "{what}: {error}");
        // And stays one.
        let error = pollster::block_on(trainer.collect()).unwrap_err();
        assert!(is_loss(&error), "{what}: {error}");
        drop(trainer);
        let rest = pollster::block_on(finish(run.trainer(&reopened(), &saved)));
        assert!(
            bits(&rest[1].1) == bits(&whole[1].1),
            "{what}: the bits differ"
        );
    }
    // At any moment, from another thread.
    for delay in [0, 3, 30] {
        let device = common::separate_gpu().unwrap();
        let mut trainer = run.trainer(&device, &run.start());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(std::time::Duration::from_millis(delay));
                common::destroy(&device);
            });
            let check = common::deadline("error of a lost device");
            let error = loop {
                check();
                let state = trainer.step().map(drop);
                let state = state.and_then(|()| pollster::block_on(trainer.snapshot()).map(drop));
                if let Err(error) = state {
                    break error;
                }
                if trainer.epoch_done() {
                    trainer.next_epoch();
                }
            };
            assert!(is_loss(&error), "{error}");
        });
    }
}

fn reopened() -> Device {
    common::separate_gpu().expect("it was there before")
}
