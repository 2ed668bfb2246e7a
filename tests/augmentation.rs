//! What is drawn for random erasing, cutout, mixup and CutMix, against recordings of torchvision and
//! plain functions; and the cross-entropy with smoothed and mixed labels, against recordings of
//! PyTorch. `tests/golden/targets.py` made the recordings; `tests/training/mixing.rs` tests whole
//! steps.

use pyr_wgpu::data::{DatasetKind, EpochKey};
use pyr_wgpu::graph::ops::{Rectangle, SoftmaxCrossEntropy, SoftmaxCrossEntropyGrad, Target};
use pyr_wgpu::graph::{Op, Tensor};
use pyr_wgpu::rng::Purpose;
use pyr_wgpu::shape::Shape;
use pyr_wgpu::train::{Mixing, Recipe, erased};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const KEY: EpochKey = EpochKey { seed: 5, epoch: 2 };

fn recording<T: DeserializeOwned>(name: &str) -> T {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A recipe without any of the options.
fn plain() -> Recipe {
    Recipe::for_dataset(DatasetKind::Cifar10)
}

/// One call of `torch.nn.CrossEntropyLoss`.
#[derive(Deserialize)]
struct LossCase {
    smoothing: f32,
    classes: usize,
    logits: Vec<f64>,
    labels: Vec<u32>,
    others: Option<Vec<u32>>,
    shares: Option<Vec<f32>>,
    weights: Vec<f64>,
    losses: Vec<f64>,
    gradients: Vec<f64>,
}

impl LossCase {
    /// The operand `labels`.
    fn labels(&self) -> Tensor {
        let images = self.labels.len();
        let (Some(others), Some(shares)) = (&self.others, &self.shares) else {
            return Tensor::index(Shape::indices(&[images]), self.labels.clone());
        };
        let shares = shares.iter().map(|share| share.to_bits());
        let words = self.labels.iter().chain(others).copied().chain(shares);
        Tensor::index(Shape::indices(&[3, images]), words.collect())
    }
}

/// Both are computed in double precision from the same numbers. Rounding errors of K + 8 operations
/// on numbers below 32.
#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let cases: Vec<LossCase> = recording("targets.json");
    assert_eq!(cases.len(), 4);
    for case in cases {
        let LossCase {
            smoothing, classes, ..
        } = case;
        let images = case.labels.len();
        let shape = Shape::channels(&[images, 1, 1, classes]);
        let logits = Tensor::real(shape, case.logits.clone());
        let weights = Tensor::real(Shape::dense(&[images]), case.weights.clone());
        let labels = case.labels();
        let loss = Op::from(SoftmaxCrossEntropy { smoothing });
        let losses = loss.reference(&[&logits, &labels]).remove(0);
        let gradient = Op::from(SoftmaxCrossEntropyGrad { smoothing });
        let gradients = gradient.reference(&[&logits, &labels, &weights]).remove(0);
        let bound = (classes + 8) as f64 * f64::EPSILON * 32.0;
        for (ours, expected) in [(losses, &case.losses), (gradients, &case.gradients)] {
            assert_eq!(ours.values().len(), expected.len());
            for (ours, expected) in ours.values().iter().zip(expected) {
                let difference = (ours - expected).abs();
                assert!(difference <= bound, "{smoothing}: {ours}, {expected}");
            }
        }
    }
}

/// An image counts as correct if its top prediction is the label with the larger share; of equal
/// shares, its own.
#[test]
fn the_rank_is_that_of_the_larger_share() {
    let logits = Tensor::real(Shape::channels(&[4, 1, 1, 3]), [1.0, 3.0, 2.0].repeat(4));
    let target = |share| Target {
        label: 1,
        other: 0,
        share,
    };
    let targets = [0.0, 0.49, 0.5, 1.0].map(target);
    let labels = Tensor::index(Shape::indices(&[3, 4]), Target::to_words(&targets));
    let op = Op::from(SoftmaxCrossEntropy { smoothing: 0.0 });
    assert_eq!(op.reference(&[&logits, &labels])[1].indices(), [2, 2, 0, 0]);
}

/// Rectangles drawn by torchvision: mean and variance of each of their measures.
#[derive(Deserialize)]
struct Drawn {
    size: u32,
    count: u32,
    #[serde(default)]
    alpha: f32,
    moments: std::collections::BTreeMap<String, [f64; 2]>,
}

#[derive(Deserialize)]
struct DrawnRectangles {
    erase: Vec<Drawn>,
    cutmix: Vec<Drawn>,
}

/// Compares means and variances of the measures of as many rectangles, within five standard errors
/// of the difference: √((σ₁² + σ₂²)/n), and for variances √((R²σ₁² + R²σ₂²)/n), since the fourth
/// central moment of values in a range R is at most R²σ².
fn compare(what: &str, drawn: &Drawn, rectangle: impl Fn(u32) -> Rectangle) {
    let rectangles: Vec<Rectangle> = (0..drawn.count).map(rectangle).collect();
    let count = f64::from(drawn.count);
    type Measure = fn(&Rectangle) -> u64;
    let measures: [(&str, Measure); 6] = [
        ("top", |r| r.top.into()),
        ("left", |r| r.left.into()),
        ("height", |r| (r.bottom - r.top).into()),
        ("width", |r| (r.right - r.left).into()),
        ("area", Rectangle::area),
        ("empty", |r| u64::from(r.area() == 0)),
    ];
    for (name, measure) in measures {
        let values = rectangles.iter().map(|r| measure(r) as f64);
        let mean = values.clone().sum::<f64>() / count;
        let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        let [their_mean, their_variance] = drawn.moments[name];
        let bound = 5.0 * ((variance + their_variance) / count).sqrt();
        assert!(
            (mean - their_mean).abs() <= bound,
            "{what} {}: {name} is {mean}, torchvision's {their_mean}, bound {bound}",
            drawn.size
        );
        let size = f64::from(drawn.size);
        let range = if name == "area" { size * size } else { size };
        let bound = range * bound;
        assert!(
            (variance - their_variance).abs() <= bound,
            "{what} {}: the variance of {name} is {variance}, torchvision's {their_variance}, bound \
             {bound}",
            drawn.size
        );
    }
}

#[test]
fn rectangles_are_distributed_as_those_of_torchvision() {
    let recorded: DrawnRectangles = recording("rectangles.json");
    assert_eq!((recorded.erase.len(), recorded.cutmix.len()), (2, 2));
    for drawn in &recorded.erase {
        let recipe = Recipe {
            erase: 1.0,
            ..plain()
        };
        compare("erase", drawn, |sample| {
            erased(&recipe, KEY, sample, drawn.size)[0]
        });
    }
    for drawn in &recorded.cutmix {
        let recipe = Recipe {
            cutmix: Some(drawn.alpha),
            ..plain()
        };
        compare("cutmix", drawn, |batch| {
            let mixing = Mixing::draw(&recipe, KEY, batch, 2, drawn.size).unwrap();
            mixing.cut.unwrap()
        });
    }
}

/// A share of the images within five standard errors is erased, each as if all were.
#[test]
fn erasing_has_its_probability() {
    let draw = |erase, sample| {
        let recipe = Recipe { erase, ..plain() };
        erased(&recipe, KEY, sample, 32)
    };
    let count = 20_000;
    for probability in [0.25f32, 0.9] {
        let drawn = (0..count).map(|sample| (sample, draw(probability, sample)[0]));
        let drawn: Vec<_> = drawn.filter(|(_, r)| *r != Rectangle::default()).collect();
        assert!(drawn.iter().all(|(sample, r)| draw(1.0, *sample) == [*r]));
        let p = f64::from(probability);
        let difference = drawn.len() as f64 - f64::from(count) * p;
        let bound = 5.0 * (f64::from(count) * p * (1.0 - p)).sqrt();
        assert!(difference.abs() <= bound, "{probability}: {difference}");
    }
    assert!(draw(0.0, 1).is_empty());
}

/// Cutout masks the pixels less than half a side from its centre, a uniform pixel.
#[test]
fn cutout_is_a_clipped_square_around_a_pixel() {
    for (size, side) in [(32, 16), (8, 3), (5, 8), (9, 1)] {
        let recipe = Recipe {
            cutout: Some(side),
            ..plain()
        };
        for sample in 0..100 {
            let mut stream = KEY.stream(Purpose::Cutout, sample as usize);
            let centre = [(); 2].map(|()| i64::from(stream.below(size)));
            let [rectangle] = erased(&recipe, KEY, sample, size)[..] else {
                panic!("one rectangle");
            };
            for (row, column) in (0..size).flat_map(|row| (0..size).map(move |c| (row, c))) {
                let inside = [row, column].into_iter().zip(centre).all(|(at, centre)| {
                    // A square of even side reaches further up and left.
                    let twice = 2 * (i64::from(at) - centre) + i64::from(side % 2 == 0);
                    twice.abs() < i64::from(side)
                });
                let ours = rectangle.contains(row as usize, column as usize);
                assert_eq!(ours, inside, "{size} {side} {sample}: {row}, {column}");
            }
        }
    }
}

/// With both methods, half of the batches use each; shares, partners and labels belong together.
#[test]
fn a_batch_is_mixed_in_one_way() {
    let recipe = Recipe {
        mixup: Some(0.2),
        cutmix: Some(1.0),
        ..plain()
    };
    let (count, images, size) = (4000, 7, 16);
    let mut cuts = 0;
    let mut own = 0;
    for number in 0..count {
        let mixing = Mixing::draw(&recipe, KEY, number, images, size).unwrap();
        let mut partners = mixing.partners.clone();
        own += partners
            .iter()
            .zip(0..)
            .filter(|(p, at)| **p == *at)
            .count();
        partners.sort_unstable();
        assert!(partners.into_iter().eq(0..images as u32));
        let weight = match mixing.cut {
            Some(cut) => {
                cuts += 1;
                let kept = (0..256)
                    .filter(|at| !cut.contains(at / 16, at % 16))
                    .count();
                assert_eq!(mixing.share, kept as f32 / 256.0);
                1.0
            }
            None => mixing.share,
        };
        let labels: Vec<u32> = (10..10 + images as u32).collect();
        let targets = mixing.targets(&labels);
        let all = mixing.mixtures().zip(targets).zip(labels.iter());
        for ((mixture, target), label) in all {
            assert_eq!(mixture.weight, weight);
            assert_eq!(mixture.rectangle, mixing.cut.unwrap_or_default());
            assert_eq!((target.label, target.share), (*label, mixing.share));
            assert_eq!(target.other, labels[mixture.partner as usize]);
        }
    }
    // Five standard errors: √n/2, and √n of the fixed points, whose mean and variance are 1.
    let root = f64::from(count).sqrt();
    let half = f64::from(cuts) - f64::from(count) / 2.0;
    assert!(half.abs() <= 5.0 * root / 2.0, "{cuts}");
    assert!((own as f64 - f64::from(count)).abs() <= 5.0 * root, "{own}");
    assert_eq!(Mixing::draw(&plain(), KEY, 0, images, size), None);
}
