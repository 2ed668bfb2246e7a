//! Steps: they learn, and are those of the recipe.

use pyr_wgpu::engine::{TensorKind, Tensors};
use pyr_wgpu::train::{Recipe, Snapshot};
use pyr_wgpu::verify;

use crate::check_update;
use crate::common::runs::{Run, devices, finish, precisions};

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

/// The L2 norm of all gradients.
fn norm(gradient: &Tensors) -> f64 {
    let squares = gradient.values().flatten().map(|g| f64::from(*g).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Weights and velocities after one step, given the gradient: Torch's Nesterov momentum, after
/// `clip_grad_norm_`.
pub(crate) fn sgd(
    before: &Snapshot,
    gradient: &Tensors,
    recipe: &Recipe,
    epoch: u32,
) -> (Tensors, Tensors) {
    let norm = norm(gradient);
    let clip = recipe.clip_grad_norm.map(f64::from);
    let clip = clip.map_or(1.0, |most| (most / (norm + 1e-6)).min(1.0));
    let [rate, momentum, decay] = [
        recipe.learning_rate(epoch, 0, 1),
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
            let g = clip * f64::from(*g) + decay * p;
            let v = momentum * v + g;
            new_velocities.push(v as f32);
            new_weights.push((p - rate * (g + momentum * v)) as f32);
        }
        weights.insert(name.clone(), new_weights);
        velocities.insert(name.clone(), new_velocities);
    }
    (weights, velocities)
}

/// Averages after a step: a + (1 − d)·(w − a) of parameters and running statistics.
fn check_averages(what: &str, before: &Snapshot, after: &Snapshot, decay: Option<f32>) {
    assert_eq!(after.averages.is_some(), decay.is_some());
    for (name, averages) in after.averages.iter().flatten() {
        let old = before.result()[name].iter().zip(&after.weights[name]);
        for ((a, w), found) in old.zip(averages) {
            let decay = f64::from(decay.unwrap());
            let [a, w] = [a, w].map(|number| f64::from(*number));
            let expected = decay * a + (1.0 - decay) * w;
            // Four roundings, of numbers of at most this size.
            let size = a.abs().max(w.abs()) + (w - a).abs();
            let distance = (f64::from(*found) - expected).abs();
            assert!(distance <= 4.0 * size * 2f64.powi(-24), "{what}: {name}");
        }
    }
}

/// Every step of an epoch, the smaller last one included, divides by its own number of
/// images; micro-batches have their own statistics and add up. The gradient of all micro-batches
/// together is clipped, and averages follow the weights and running statistics once in each step.
#[test]
fn steps_are_those_of_the_recipe() {
    for device in devices() {
        let cases = [None, Some(3)].map(|micro_batch| [(micro_batch, false), (micro_batch, true)]);
        for (micro_batch, extended) in cases.into_iter().flatten() {
            let mut run = Run::new(8, 11, 8);
            run.options.micro_batch = micro_batch;
            if extended {
                run.options.recipe.clip_grad_norm = Some(0.5);
                run.options.recipe.ema = Some(0.7);
            }
            let what = format!("{}, micro {micro_batch:?}, {extended}", device.name());
            pollster::block_on(async {
                let mut trainer = run.trainer(device, &run.start());
                for (step, indices) in run.order(1).iter().enumerate() {
                    let before = trainer.snapshot().await.unwrap();
                    assert_eq!(pollster::block_on(trainer.step()).unwrap(), indices.len());
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
                    assert!(norm(&gradient) > 1.0, "nothing is clipped");
                    check_averages(&what, &before, &after, run.options.recipe.ema);
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
