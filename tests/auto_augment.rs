//! Automatic augmentation against a recording of torchvision, which `tests/golden/transforms.py`
//! made: what operations do to images, their magnitudes, and how they are drawn.

use std::collections::BTreeMap;

use pyr_wgpu::data::{Augmentation, DatasetKind, EpochKey};
use pyr_wgpu::graph::Op;
use pyr_wgpu::graph::ops::{TRANSFORM_SIZE, Transform, TransformImages};
use pyr_wgpu::shape::Shape;
use pyr_wgpu::train::{AutoAugment, Operation, Recipe};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    size: u32,
    operations: Vec<Applied>,
    policies: BTreeMap<String, Vec<Range>>,
    pairs: Vec<[Step; 2]>,
}

#[derive(Deserialize)]
struct Applied {
    operation: Operation,
    magnitude: f64,
}

#[derive(Deserialize)]
struct Range {
    operation: Operation,
    signed: bool,
    magnitudes: Vec<f64>,
}

#[derive(Deserialize)]
struct Step {
    operation: Operation,
    probability: f64,
    level: u32,
}

fn recorded() -> Recorded {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transforms.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Bytes of the image in a row and a column of the picture.
fn tile(picture: &image::RgbImage, size: u32, row: u32, column: u32) -> Vec<u8> {
    let view = image::imageops::crop_imm(picture, column * size, row * size, size, size);
    view.to_image().into_raw()
}

/// Pillow blends and stretches contrasts in floating point and cuts off, so a byte may differ by one if
/// the exact result is a whole number or within both programs' errors of one: for blends
/// 255 · (2⁻²¹ + 2⁻²³) on either side, which has a probability of 3e-4 for a result that is uniform
/// between two whole numbers. Magnitudes such as 0.75 make results whole at every fourth value, so the
/// bound is one byte of four; other operations agree in all bytes.
#[test]
fn operations_change_images_as_those_of_torchvision() {
    let recorded = recorded();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transforms.png");
    let picture = image::open(path).unwrap().to_rgb8();
    let size = recorded.size;
    for (at, applied) in recorded.operations.iter().enumerate() {
        let Applied {
            operation,
            magnitude,
        } = *applied;
        let transform = operation.transform(magnitude, size);
        for column in 0..2 {
            let x = tile(&picture, size, 0, column);
            let theirs = tile(&picture, size, at as u32 + 1, column);
            let mut ours = vec![0; x.len()];
            transform.apply(&x, &mut ours, size as usize);
            let differences = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b));
            let largest = differences.clone().max().unwrap();
            let count = differences.filter(|difference| *difference > 0).count();
            println!("{operation:?} {magnitude}: {count} differ, by at most {largest}");
            let most = match transform {
                Transform::Blend(..) | Transform::AutoContrast => (1, x.len() / 4),
                _ => (0, 0),
            };
            assert!(
                largest <= most.0 && count <= most.1,
                "{operation:?} {magnitude} on image {column}: {count} of {} bytes differ, by at \
                 most {largest}",
                x.len()
            );
        }
    }
}

/// torchvision's magnitudes are in single precision.
#[test]
fn magnitudes_are_those_of_torchvision() {
    let recorded = recorded();
    assert_eq!(recorded.policies.len(), 3);
    for (name, ranges) in &recorded.policies {
        let policy: AutoAugment = name.parse().unwrap();
        for range in ranges {
            assert_eq!(range.operation.is_signed(), range.signed);
            for (level, theirs) in range.magnitudes.iter().enumerate() {
                let ours = policy.magnitude(range.operation, level as u32, recorded.size);
                let bound = 4.0 * f64::from(f32::EPSILON) * theirs.abs().max(1e-3);
                assert!(
                    (ours - theirs).abs() <= bound,
                    "{name} {:?} {level}: {ours}, torchvision's {theirs}",
                    range.operation
                );
            }
        }
    }
}

/// Coordinates and sums of the largest images do not overflow, and larger ones are refused.
#[test]
fn images_have_a_largest_size() {
    let size = TRANSFORM_SIZE;
    let image = vec![255; 3 * size * size];
    let mut changed = image.clone();
    let of = |operation: Operation, magnitude| operation.transform(magnitude, size as u32);
    of(Operation::Contrast, 0.99).apply(&image, &mut changed, size);
    assert!(changed == image, "a white image has no contrast");
    of(Operation::ShearX, 0.99).apply(&image, &mut changed, size);
    let last = 3 * size * (size - 1);
    assert_eq!((changed[0], changed[last + 3 * 20]), (255, 255));
    assert_eq!(changed[last + 3 * 40], 0, "past the right edge");
    let words = |size: usize| 3 * size * size / 4;
    let shapes = |size| {
        let images = Shape::indices(&[1, words(size)]);
        [images, Shape::indices(&[1]), Shape::indices(&[1, 7])]
    };
    let infer = |size| Op::from(TransformImages { size }).infer(&shapes(size).each_ref());
    assert_eq!(infer(size).unwrap(), [Shape::indices(&[1, words(size)])]);
    assert!(infer(size + 4).is_err());
    let recipe = Recipe {
        auto_augment: AutoAugment::Rand,
        ..Recipe::for_dataset(DatasetKind::Folder)
    };
    let check = |size| recipe.check_augmentation(size as u32, 8, Augmentation::Crop);
    check(size).unwrap();
    assert!(check(size + 1).unwrap_err().contains("2048"));
}

/// How often each list of transforms is drawn for so many samples.
fn counts(policy: AutoAugment, samples: u32, size: u32) -> Vec<(Vec<Transform>, f64)> {
    let key = EpochKey { seed: 5, epoch: 2 };
    let mut counts: BTreeMap<Vec<[u32; 7]>, (Vec<Transform>, f64)> = BTreeMap::new();
    for sample in 0..samples {
        let drawn = policy.draw(key, sample, size);
        assert_eq!(drawn.len(), policy.transforms());
        let words = drawn.iter().map(|transform| transform.to_words());
        counts.entry(words.collect()).or_insert((drawn, 0.0)).1 += 1.0;
    }
    counts.into_values().collect()
}

/// Adds a probability to that of a list of transforms.
fn add(expected: &mut Vec<(Vec<Transform>, f64)>, transforms: Vec<Transform>, probability: f64) {
    match expected.iter_mut().find(|(known, _)| *known == transforms) {
        Some((_, known)) => *known += probability,
        None => expected.push((transforms, probability)),
    }
}

/// The transforms of an operation with each sign, and their probabilities.
fn signs(operation: Operation, magnitude: f64, signed: bool, size: u32) -> Vec<(Transform, f64)> {
    let of = |magnitude| operation.transform(magnitude, size);
    match signed {
        true => vec![(of(magnitude), 0.5), (of(-magnitude), 0.5)],
        false => vec![(of(magnitude), 1.0)],
    }
}

/// All pairs of what two independent draws give.
fn pairs(first: &[(Transform, f64)], second: &[(Transform, f64)]) -> Vec<(Vec<Transform>, f64)> {
    let mut pairs = Vec::new();
    for (a, p) in first {
        for (b, q) in second {
            add(&mut pairs, vec![*a, *b], p * q);
        }
    }
    pairs
}

/// The recorded ranges and pairs give the probability of every list of transforms; the counts of
/// what is drawn lie within five standard deviations of the binomial distribution.
#[test]
fn transforms_are_drawn_with_their_probabilities() {
    let recorded = recorded();
    let size = recorded.size;
    // Single precision rounds the recorded magnitudes, which another test compares.
    let of_range = |policy: AutoAugment, range: &Range, level: u32| {
        let magnitude = policy.magnitude(range.operation, level, size);
        signs(range.operation, magnitude, range.signed, size)
    };
    for (name, ranges) in &recorded.policies {
        let policy: AutoAugment = name.parse().unwrap();
        let count = ranges.len() as f64;
        let mut expected = Vec::new();
        match policy {
            AutoAugment::None => panic!("it is not recorded"),
            AutoAugment::Trivial => {
                let levels = policy.levels();
                for (range, level) in ranges.iter().flat_map(|r| (0..levels).map(move |l| (r, l))) {
                    for (transform, probability) in of_range(policy, range, level) {
                        let probability = probability / count / f64::from(levels);
                        add(&mut expected, vec![transform], probability);
                    }
                }
            }
            AutoAugment::Rand => {
                let single = ranges.iter().flat_map(|range| of_range(policy, range, 9));
                let single: Vec<_> = single.map(|(t, p)| (t, p / count)).collect();
                expected = pairs(&single, &single);
            }
            AutoAugment::Cifar10 => {
                for pair in &recorded.pairs {
                    let options = pair.each_ref().map(|step| {
                        let mut ranges = ranges.iter();
                        let range = ranges.find(|range| range.operation == step.operation);
                        let drawn = of_range(policy, range.unwrap(), step.level).into_iter();
                        let mut drawn: Vec<_> =
                            drawn.map(|(t, p)| (t, p * step.probability)).collect();
                        drawn.push((Transform::Identity, 1.0 - step.probability));
                        drawn
                    });
                    for (transforms, probability) in pairs(&options[0], &options[1]) {
                        let probability = probability / recorded.pairs.len() as f64;
                        add(&mut expected, transforms, probability);
                    }
                }
            }
        }
        expected.retain(|(_, probability)| *probability > 0.0);
        let total: f64 = expected.iter().map(|(_, probability)| probability).sum();
        assert!((total - 1.0).abs() < 1e-9, "{name}: {total}");
        let samples = 200_000;
        let drawn = counts(policy, samples, size);
        for (transforms, _) in &drawn {
            let known = expected.iter().any(|(known, _)| known == transforms);
            assert!(known, "{name}: {transforms:?} was drawn");
        }
        for (transforms, probability) in &expected {
            let found = drawn.iter().find(|(known, _)| known == transforms);
            let found = found.map_or(0.0, |(_, count)| *count);
            let mean = f64::from(samples) * probability;
            let deviation = (mean * (1.0 - probability)).sqrt();
            assert!(
                (found - mean).abs() <= 5.0 * deviation,
                "{name}: {transforms:?} was drawn {found} times instead of {mean}"
            );
        }
    }
}
