//! Comparison with recordings of PyTorch: logits, every gradient by name, states after one and
//! several steps of SGD. `tests/golden/README.md` describes the recordings, and the differences
//! between PyTorch in single and in double precision from which the tolerances follow.
//!
//! Recordings of wide networks are abridged: the seed of the weights takes the place of the
//! weights, and long tensors of gradients and states are sampled.

mod common;

use std::path::Path;

use pyr_wgpu::checkpoint::{Checkpoint, StoredTensor, Values, read_npy_file};
use pyr_wgpu::engine::{Device, Engine, PartEnd, TensorKind, Tensors};
use pyr_wgpu::graph::step::Step;
use pyr_wgpu::graph::{Arena, Passes};
use pyr_wgpu::kernels::Choices;
use pyr_wgpu::model::{
    Input, Network, NetworkSpec, Parameter, ParameterRole, initial_values, names,
};
use pyr_wgpu::train::{Mode, StepOptions, step_graph_with, update_graph};
use pyr_wgpu::verify::{self, Difference, RecordedBatch, SgdSteps};
use serde::Deserialize;

/// Logits may differ by this times the larger of 1 and the largest logit.
const LOGITS: f64 = 2e-5;

/// Relative L2 norm of the difference of all gradients, and of those of one tensor.
///
/// PyTorch's own f32 and f64 gradients differ by up to 6.8e-6 over all tensors; seven times that
/// is still a thousand times below the effect of a wrong factor.
const GRADIENTS: f64 = 5e-5;

struct Recording {
    network: Network,
    weights: Tensors,
    batch: RecordedBatch,
    json: serde_json::Value,
    abridged: Option<Abridged>,
    stem: String,
}

/// What an abridged recording leaves out.
#[derive(Deserialize)]
struct Abridged {
    /// The tensors that its file of weights lacks are the initial values of this seed.
    weights_seed: u64,
    /// Longer tensors of gradients and states are sampled.
    longest_complete: usize,
    /// One in this many values of them is kept, starting with the first.
    every: usize,
}

impl Recording {
    /// The values of gradients or of a state that the recording stores.
    fn kept(&self, mut tensors: Tensors) -> Tensors {
        if let Some(abridged) = &self.abridged {
            let long = |values: &&mut Vec<f32>| values.len() > abridged.longest_complete;
            for values in tensors.values_mut().filter(long) {
                *values = values.iter().copied().step_by(abridged.every).collect();
            }
        }
        tensors
    }
}

fn recording(name: &str) -> Recording {
    let stem = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(format!("{stem}.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let spec: NetworkSpec = serde_json::from_value(json["network"].clone()).unwrap();
    let input = read_npy_file(Path::new(&format!("{stem}.input.npy"))).unwrap();
    let labels = read_npy_file(Path::new(&format!("{stem}.labels.npy"))).unwrap();
    let Values::I64(labels) = labels.values() else {
        panic!("labels must be integers");
    };
    let network = Network::new(&spec).unwrap();
    let abridged: Option<Abridged> = serde_json::from_value(json["abridged"].clone()).unwrap();
    let mut weights = Tensors::new();
    if let Some(abridged) = &abridged {
        weights.extend(initial_values(&network, abridged.weights_seed));
    }
    weights.extend(tensors(&format!("{stem}.safetensors")));
    Recording {
        network,
        weights,
        batch: RecordedBatch {
            size: labels.len(),
            input: floats(input.values()).to_vec(),
            labels: labels.iter().map(|l| *l as u32).collect(),
        },
        json,
        abridged,
        stem,
    }
}

fn floats(values: &Values) -> &[f32] {
    match values {
        Values::F32(values) => values,
        Values::I64(_) => panic!("expected floats"),
    }
}

fn tensors(path: &str) -> Tensors {
    let tensors = Checkpoint::load(Path::new(path))
        .unwrap()
        .tensors
        .into_iter();
    let real = |(name, tensor): (String, StoredTensor)| match tensor.into_parts().1 {
        Values::F32(values) => Some((name, values)),
        Values::I64(_) => None,
    };
    tensors.filter_map(real).collect()
}

fn difference(ours: &Tensors, reference: &Tensors) -> Difference {
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        reference.keys().collect::<Vec<_>>()
    );
    Difference::of_tensors(ours, reference)
}

async fn check(device: &Device, name: &str) {
    let recording = recording(name);
    check_gradients(device, name, &recording).await;
    check_steps(device, name, &recording).await;
}

/// Logits and gradients.
async fn check_gradients(device: &Device, name: &str, recording: &Recording) {
    let Recording {
        network,
        weights,
        batch,
        stem,
        ..
    } = recording;

    let logits = verify::logits(device, network, weights, batch)
        .await
        .unwrap();
    let reference = read_npy_file(Path::new(&format!("{stem}.logits.npy"))).unwrap();
    let distance = Difference::between([(logits.as_slice(), floats(reference.values()))]);
    let tolerance = LOGITS * distance.largest.max(1.0);
    println!("{name} logits {distance:?}");
    assert!(distance.max_abs <= tolerance, "{name} logits: {distance:?}");

    let gradients = verify::gradients(device, network, weights, batch)
        .await
        .unwrap();
    let gradients = recording.kept(gradients);
    let reference = tensors(&format!("{stem}.grads.safetensors"));
    let distance = difference(&gradients, &reference);
    println!("{name} gradients {distance:?}");
    assert!(
        distance.rel_l2 <= GRADIENTS,
        "{name} gradients: {distance:?}"
    );
    let length = |values: &[f32]| {
        values
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let all = length(&reference.values().flatten().copied().collect::<Vec<f32>>());
    for (tensor, values) in &gradients {
        // Against the whole gradient's length: a tensor whose gradient nearly cancels has no
        // relative accuracy of its own.
        let own: Vec<f32> = values
            .iter()
            .zip(&reference[tensor])
            .map(|(a, b)| a - b)
            .collect();
        let distance = length(&own) / length(&reference[tensor]).max(1e-3 * all);
        assert!(
            distance <= GRADIENTS,
            "{name} gradient of {tensor}: {distance:e}"
        );
    }
}

/// The state after one step and after several.
async fn check_steps(device: &Device, name: &str, recording: &Recording) {
    let Recording {
        network,
        weights,
        batch,
        json,
        stem,
        ..
    } = recording;
    let start = recording.kept(weights.clone());
    for (key, suffix) in [("state1", "1"), ("state", "")] {
        let sgd = SgdSteps {
            steps: json[key]["steps"].as_u64().unwrap() as usize,
            learning_rate: json[key]["learning_rate"].as_f64().unwrap() as f32,
            momentum: json["momentum"].as_f64().unwrap() as f32,
            weight_decay: json["weight_decay"].as_f64().unwrap() as f32,
        };
        let (state, losses) = verify::steps(device, network, weights, batch, sgd)
            .await
            .unwrap();
        let reference = tensors(&format!("{stem}.state{suffix}.safetensors"));
        let state = recording.kept(state);
        let distance = difference(
            &verify::change(&state, &start),
            &verify::change(&reference, &start),
        );
        println!("{name} {key} {distance:?}");
        assert!(
            distance.rel_l2 <= GRADIENTS,
            "{name} {key}: update {distance:?}"
        );
        let reference = read_npy_file(Path::new(&format!("{stem}.losses{suffix}.npy"))).unwrap();
        let distance = Difference::between([(losses.as_slice(), floats(reference.values()))]);
        let tolerance = LOGITS * distance.largest.max(1.0);
        assert!(
            distance.max_abs <= tolerance,
            "{name} {key} losses: {distance:?}"
        );
    }
}

/// The recorded step on two replicas, with batch norm over both.
async fn check_replicas(device: &Device, name: &str) {
    let Recording {
        network,
        weights,
        batch,
        json,
        stem,
        ..
    } = &recording(name);
    let total = batch.size;
    let step = Step {
        epoch: 1,
        learning_rate: json["state1"]["learning_rate"].as_f64().unwrap() as f32,
        momentum: json["momentum"].as_f64().unwrap() as f32,
        weight_decay: json["weight_decay"].as_f64().unwrap() as f32,
        ..Step::default()
    };
    let options = StepOptions {
        synchronized: Some(total),
        ..StepOptions::default()
    };
    let mut replicas = Vec::new();
    for images in [0..1, 1..total] {
        let (mode, passes) = (Mode::MicroBatch, Passes::default());
        let graphs = vec![
            step_graph_with(network, images.len(), &Input::Tensor, mode, options, passes).unwrap(),
            update_graph(network, options, passes).unwrap(),
        ];
        let mut engine = Engine::new(device, graphs, &Choices::default()).unwrap();
        engine.write_tensors(network, TensorKind::Weights, weights);
        let length = batch.input.len() / total;
        let plane = length / 3;
        let own = batch.input.chunks_exact(length).skip(images.start);
        let pixels = own.take(images.len()).flat_map(|image| {
            (0..plane).flat_map(move |at| [0, 1, 2].map(|channel| image[channel * plane + at]))
        });
        let pixels: Vec<f32> = pixels.collect();
        engine.write_values(engine.value(names::INPUT), &pixels);
        engine.write(engine.value(names::LABELS), &batch.labels[images.clone()]);
        let weights = vec![(1.0 / total as f32).to_bits(); images.len()];
        engine.write(engine.value(names::LOSS_WEIGHTS), &weights);
        engine.write(engine.value(names::STEP), &step.to_words());
        replicas.push((images.len(), engine));
    }
    for part in 0..replicas[0].1.part_ends(0).len() {
        let mut all = Vec::new();
        for (images, engine) in &mut replicas {
            engine.run_part(0, part).unwrap();
            if let PartEnd::Reduction(reduction) = &engine.part_ends(0)[part] {
                let own = engine.read(reduction.own).await.unwrap();
                let own: Vec<f32> = own.into_iter().map(f32::from_bits).collect();
                all.push((*images, own));
            }
        }
        let all: Vec<(usize, &[f32])> = all.iter().map(|(n, own)| (*n, &own[..])).collect();
        for (images, engine) in &mut replicas {
            if let PartEnd::Reduction(reduction) = engine.part_ends(0)[part] {
                let result = reduction.reduction.combine(&all, *images);
                let words: Vec<u32> = result.iter().map(|number| number.to_bits()).collect();
                engine.write(reduction.all, &words);
            }
        }
    }
    let (_, other) = replicas.pop().unwrap();
    let (_, mut engine) = replicas.pop().unwrap();
    let mut sums = engine.read_arena(Arena::Sums).await.unwrap();
    for (sum, number) in sums
        .iter_mut()
        .zip(other.read_arena(Arena::Sums).await.unwrap())
    {
        *sum += number;
    }
    engine.write_arena(Arena::Sums, &sums);
    engine.run(1).unwrap();
    let state = engine
        .read_tensors(network, TensorKind::Weights)
        .await
        .unwrap();
    let reference = tensors(&format!("{stem}.state1.safetensors"));
    let changes = [&state, &reference].map(|state| verify::change(state, weights));
    let distance = difference(&changes[0], &changes[1]);
    println!("{name}, two replicas: {distance:?}");
    assert!(distance.rel_l2 <= GRADIENTS, "{name}: {distance:?}");
}

/// The logits of the ImageNet stem where max pooling rounds up, as Caffe's does.
async fn check_ceil_mode(device: &Device) {
    let recording = recording("imagenet_stem");
    let spec = NetworkSpec {
        ceil_mode: true,
        ..recording.network.spec().clone()
    };
    let network = Network::new(&spec).unwrap();
    assert_eq!(network.stem.last().unwrap().output, [17, 17, 64]);
    let logits = verify::logits(device, &network, &recording.weights, &recording.batch)
        .await
        .unwrap();
    let file = "tests/foreign/imagenet_stem.ceil.logits.npy";
    let reference = read_npy_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let distance = Difference::between([(logits.as_slice(), floats(reference.values()))]);
    let tolerance = LOGITS * distance.largest.max(1.0);
    assert!(distance.max_abs <= tolerance, "{distance:?}");
}

const RECORDINGS: [&str; 6] = [
    "additive_basic",
    "additive_bottleneck",
    "multiplicative_basic",
    "odd_image",
    "imagenet_stem",
    "preresnet",
];

/// Networks of ImageNet's shapes: logits, and the loss and gradients of a training step, of images of
/// 224x224 that `tests/golden/at_224.py` makes by the same formulas.
///
/// In double precision gradients are equal up to the rounding of the recorded numbers. In single
/// precision rounding decides whether a ReLU passes the few inputs that are nearly zero, and each such
/// decision moves all gradients before it: PyTorch's own differ by up to 0.4 % (relative L2 norm), of
/// which four times is allowed.
async fn check_at_224(device: &Device) {
    let path = format!("{}/tests/golden/at_224.json", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(path).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let hashed = (0..2 * 3 * 224 * 224u32).map(|index| index.wrapping_mul(2_654_435_761));
    let batch = RecordedBatch {
        size: 2,
        input: hashed
            .map(|hash| (f64::from(hash) / 2f64.powi(30) - 2.0) as f32)
            .collect(),
        labels: vec![0, 1],
    };
    let recordings = file["recordings"].as_array().unwrap();
    let theirs = recordings.iter().map(|recorded| {
        let distance = &recorded["float32_against_float64"]["gradients_relative_l2"];
        distance.as_f64().unwrap()
    });
    let largest = theirs.fold(0.0, f64::max);
    for recorded in recordings {
        let spec: NetworkSpec = serde_json::from_value(recorded["network"].clone()).unwrap();
        let network = Network::new(&spec).unwrap();
        let mut weights: Tensors = initial_values(&network, 1).into_iter().collect();
        for Parameter { name, role, .. } in network.parameters() {
            let formula: fn(f64) -> f64 = match role {
                ParameterRole::BatchNormScale => |index| 1.0 + 0.25 * index.sin(),
                ParameterRole::BatchNormShift | ParameterRole::LinearBias => {
                    |index| 0.1 * index.cos()
                }
                ParameterRole::RunningMean => |index| 0.1 * (2.0 * index).sin(),
                ParameterRole::RunningVar => |index| 1.0 + 0.5 * index.cos().powi(2),
                _ => continue,
            };
            let values = weights.get_mut(&name).unwrap().iter_mut().enumerate();
            values.for_each(|(index, value)| *value = formula(index as f64) as f32);
        }
        let logits = verify::logits(device, &network, &weights, &batch).await;
        let rows: Vec<Vec<f32>> = serde_json::from_value(recorded["logits"].clone()).unwrap();
        let distance = Difference::between([(&*logits.unwrap(), &*rows.concat())]);
        println!("{spec} {distance:?}");
        assert!(
            distance.max_abs <= LOGITS * distance.largest.max(1.0),
            "{spec}"
        );
        let sgd = SgdSteps {
            steps: 1,
            learning_rate: 0.1,
            momentum: 0.9,
            weight_decay: 1e-4,
        };
        let (_, losses) = verify::steps(device, &network, &weights, &batch, sgd)
            .await
            .unwrap();
        let loss = recorded["loss"].as_f64().unwrap();
        let distance = (f64::from(losses[0]) - loss).abs();
        println!("{spec} loss {distance:e}");
        assert!(distance <= LOGITS * loss.max(1.0), "{spec}");
        let ours = verify::gradients(device, &network, &weights, &batch).await;
        let ours = ours.unwrap();
        let reference: Tensors = serde_json::from_value(recorded["gradients"].clone()).unwrap();
        assert_eq!(ours.len(), reference.len(), "{spec}");
        let sampled = reference.iter().map(|(name, kept)| {
            let (values, count) = (&ours[name], kept.len());
            let at = |k| values[k * values.len() / count];
            (name.clone(), (0..count).map(at).collect())
        });
        let distance = difference(&sampled.collect(), &reference);
        println!("{spec} gradients {distance:?}");
        let tolerance = match device {
            Device::Reference => f64::from(f32::EPSILON),
            _ => 4.0 * largest,
        };
        assert!(distance.rel_l2 <= tolerance, "{spec}: {distance:?}");
    }
}

/// The networks whose recordings are complete.
#[test]
fn replicas_with_common_statistics_agree_with_pytorch() {
    pollster::block_on(async {
        for device in common::fast_devices().chain([&Device::Reference]) {
            for name in [
                "additive_basic",
                "additive_bottleneck",
                "multiplicative_basic",
                "odd_image",
            ] {
                check_replicas(device, name).await;
            }
        }
    });
}

#[test]
fn networks_at_224_agree_with_pytorch() {
    pollster::block_on(check_at_224(&Device::cpu()));
}

#[test]
fn references_at_224_agree_with_pytorch() {
    pollster::block_on(check_at_224(&Device::Reference));
}

#[test]
fn the_gpu_agrees_with_pytorch() {
    let Some(device) = common::gpu() else { return };
    pollster::block_on(async {
        for name in RECORDINGS {
            check(device, name).await;
        }
        check_ceil_mode(device).await;
    });
}

/// Lavapipe's subgroups have as many invocations as its vectors have lanes, of which
/// `PYR_WGPU_TEST_SUBGROUP` says how many to expect; one network is compared, because lavapipe
/// compiles all kernels again for another width.
#[test]
fn subgroups_of_other_sizes_agree_with_pytorch() {
    let Ok(expected) = std::env::var("PYR_WGPU_TEST_SUBGROUP") else {
        eprintln!("skipped: `cargo xtask test` runs this with other vectors of lavapipe");
        return;
    };
    let Some(device @ Device::Gpu(gpu)) = common::gpu() else {
        panic!("there is no adapter");
    };
    let size = gpu.subgroup_size().map(|size| size.to_string());
    assert_eq!(size.as_deref(), Some(&*expected), "{}", device.name());
    let name = "additive_basic";
    pollster::block_on(check_gradients(device, name, &recording(name)));
}

#[test]
fn the_processor_agrees_with_pytorch() {
    pollster::block_on(async {
        for device in common::processors() {
            for name in RECORDINGS {
                check(device, name).await;
            }
            check_ceil_mode(device).await;
        }
    });
}

#[test]
fn the_reference_agrees_with_pytorch() {
    pollster::block_on(async {
        for name in RECORDINGS {
            check(&Device::Reference, name).await;
        }
    });
}
