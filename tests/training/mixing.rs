//! Steps on images that are erased and mixed, with smoothed labels.
//!
//! The cross-entropy is linear in its target, so the gradient of a mixed batch is the mean of
//! gradients of single labels, which [`verify::gradients`] computes from images that are erased
//! and mixed here, one by one.

use pyr_wgpu::data::EpochKey;
use pyr_wgpu::engine::{Device, Tensors};
use pyr_wgpu::train::{Mixing, Recipe, erased};
use pyr_wgpu::verify::{self, RecordedBatch};

use crate::check_update;
use crate::common::runs::{CLASSES, Run};
use crate::common::{gpu, processors};
use crate::steps::sgd;

/// The images of a batch, NCHW, after erasing and mixing.
fn mixed(run: &Run, samples: &[u32], key: EpochKey, mixing: &Mixing) -> Vec<f32> {
    let size = run.spec.image_size as usize;
    let mut input = run.batch(samples).input;
    let image = 3 * size * size;
    let pixel = |at: usize| (at / size % size, at % size);
    for (values, sample) in input.chunks_mut(image).zip(samples) {
        for rectangle in erased(&run.options.recipe, key, *sample, size as u32) {
            for (at, value) in values.iter_mut().enumerate() {
                let (row, column) = pixel(at);
                if rectangle.contains(row, column) {
                    *value = 0.0;
                }
            }
        }
    }
    let value = |at: usize| {
        let (n, at) = (at / image, at % image);
        let own = f64::from(input[n * image + at]);
        let other = f64::from(input[mixing.partners[n] as usize * image + at]);
        let (row, column) = pixel(at);
        let share = match mixing.cut {
            Some(cut) => f64::from(u8::from(!cut.contains(row, column))),
            None => mixing.share.into(),
        };
        (share * own + (1.0 - share) * other) as f32
    };
    (0..input.len()).map(value).collect()
}

/// The gradient of the mean loss of a batch.
async fn gradient(
    device: &Device,
    run: &Run,
    weights: &Tensors,
    input: &[f32],
    labels: &[u32],
    mixing: &Mixing,
) -> Tensors {
    let share = f64::from(mixing.share);
    let smoothing = f64::from(run.options.recipe.label_smoothing);
    let others = mixing.partners.iter().map(|p| labels[*p as usize]);
    let mut terms = vec![
        ((1.0 - smoothing) * share, labels.to_vec()),
        ((1.0 - smoothing) * (1.0 - share), others.collect()),
    ];
    let all = (0..CLASSES).map(|class| (smoothing / f64::from(CLASSES), vec![class; labels.len()]));
    terms.extend(all);
    let mut sums = Tensors::new();
    for (factor, labels) in terms {
        let batch = RecordedBatch {
            input: input.to_vec(),
            size: labels.len(),
            labels,
        };
        let own = verify::gradients(device, &run.network(), weights, &batch).await;
        add(&mut sums, factor, own.unwrap());
    }
    sums
}

fn add(sums: &mut Tensors, factor: f64, tensors: Tensors) {
    for (name, values) in tensors {
        let zeros = vec![0.0; values.len()];
        let sum = sums.entry(name).or_insert(zeros);
        let pairs = sum.iter_mut().zip(values);
        pairs.for_each(|(sum, value)| *sum += (factor * f64::from(value)) as f32);
    }
}

#[test]
fn steps_mix_images_and_labels() {
    let mut methods = [0, 0];
    let cpu = &processors()[0];
    let cases = gpu().map(|gpu| (gpu, None)).into_iter();
    let cases = cases.chain([(cpu, None), (cpu, Some(3)), (&Device::Reference, Some(3))]);
    for (device, micro_batch) in cases {
        let mut run = Run::new(8, 11, 8);
        run.options.micro_batch = micro_batch;
        run.options.recipe = Recipe {
            erase: 0.5,
            cutout: Some(3),
            mixup: Some(0.4),
            cutmix: Some(1.0),
            label_smoothing: 0.1,
            ..run.options.recipe
        };
        let recipe = &run.options.recipe;
        let key = EpochKey {
            seed: run.options.seed,
            epoch: 1,
        };
        let mut number = 0;
        pollster::block_on(async {
            let mut trainer = run.trainer(device, &run.start());
            for indices in run.order(1) {
                let before = trainer.snapshot().await.unwrap();
                pollster::block_on(trainer.step()).unwrap();
                let after = trainer.snapshot().await.unwrap();
                let mut sums = Tensors::new();
                for chunk in indices.chunks(micro_batch.unwrap_or(8)) {
                    let mixing = Mixing::draw(recipe, key, number, chunk.len(), 8).unwrap();
                    number += 1;
                    methods[usize::from(mixing.cut.is_some())] += 1;
                    let input = mixed(&run, chunk, key, &mixing);
                    let labels = run.batch(chunk).labels;
                    let own = gradient(device, &run, &before.weights, &input, &labels, &mixing);
                    let share = chunk.len() as f64 / indices.len() as f64;
                    add(&mut sums, share, own.await);
                }
                let (weights, _) = sgd(&before, &sums, recipe, 1);
                let what = format!("{}, micro {micro_batch:?}", device.name());
                check_update(&what, &before.weights, &after.weights, &weights);
            }
        });
    }
    assert!(methods.iter().all(|count| *count > 0), "{methods:?}");
}
