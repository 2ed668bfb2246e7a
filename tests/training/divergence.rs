//! NaN and infinities: noticed in their step, named, and without effect on the weights.

use pyr_wgpu::engine::TensorKind;
use pyr_wgpu::graph::Precision;
use pyr_wgpu::graph::ops::LossScale;
use pyr_wgpu::train::{Snapshot, TrainError, Trainer};

use crate::common::runs::{Run, devices, precisions};

/// Learning until the weights explode.
#[test]
fn divergence_is_an_error_that_says_what_to_do() {
    for device in devices() {
        let mut run = Run::new(8, 8, 8);
        run.options.recipe.learning_rate = 1e30;
        let mut trainer = run.trainer(device, &run.start());
        let error = pollster::block_on(async {
            for _ in 0..3 {
                trainer.step().await?;
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

/// Bits of all trained tensors, and of their averages if there are any.
fn trained(trainer: &Trainer) -> Vec<(String, Vec<u32>)> {
    let averages = trainer.options().recipe.ema.map(|_| TensorKind::Averages);
    let kinds = [TensorKind::Weights].into_iter().chain(averages);
    let tensors = kinds.flat_map(|kind| {
        let tensors = trainer.engine().read_tensors(trainer.network(), kind);
        pollster::block_on(tensors).unwrap()
    });
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
        for (micro_batch, extended) in [(None, false), (None, true), (Some(3), true)] {
            for (poison, in_loss, expected) in cases {
                let what = format!("{}, micro-batch {micro_batch:?}, {poison:?}", device.name());
                let mut run = Run::new(8, 32, 8);
                run.options.micro_batch = micro_batch;
                // Clipping hides nothing, and averages take nothing over.
                run.options.recipe.clip_grad_norm = extended.then_some(1e3);
                run.options.recipe.ema = extended.then_some(0.5);
                run.options.recipe.learning_rate = 10.0;
                let mut trainer = run.trainer(device, &run.start());
                pollster::block_on(trainer.step()).unwrap();
                let good = pollster::block_on(trainer.snapshot()).unwrap();
                trainer.restore(&poisoned(good.clone(), poison));
                let before = trained(&trainer);
                pollster::block_on(trainer.step()).unwrap();
                let stopped = trained(&trainer);
                pollster::block_on(trainer.step()).unwrap();
                pollster::block_on(trainer.step()).unwrap();
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
                pollster::block_on(trainer.step()).unwrap();
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
            pollster::block_on(trainer.step()).unwrap();
            let mut state = pollster::block_on(trainer.snapshot()).unwrap();
            let scale = LossScale {
                scale,
                ..LossScale::initial()
            };
            state.position.loss_scale = Some(scale.to_words());
            trainer.restore(&poisoned(state, &[Poison::Scale("fc.weight", 1e8)]));
            let before = trained(&trainer);
            while !trainer.epoch_done() {
                pollster::block_on(trainer.step()).unwrap();
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
