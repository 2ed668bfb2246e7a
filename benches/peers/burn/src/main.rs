//! PyramidNet in burn, timed for `cargo bench-peers`.
//!
//!     peer-burn DEPTH ALPHA BATCH train|infer
//!
//! Builds the additive network of basic units for 32x32 images in ten classes, lets burn
//! tune its kernels, and prints that it is ready. Then, for each number of seconds that it reads,
//! it runs steps for that long and prints the images per second of the median step.
//! It uses burn's own layers as documented, with fusion, autotuning and autodiff.
//! burn selects the adapter unless `CUBECL_WGPU_DEFAULT_DEVICE` names one.

use std::io::BufRead;
use std::time::Instant;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::pool::AvgPool2dConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::activation::relu;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, DeviceKind, Distribution, Int, Tensor};

const CLASSES: usize = 10;
const SIZE: usize = 32;
const STEM_WIDTH: usize = 16;

/// The workload.
struct Task {
    depth: usize,
    alpha: f64,
    batch: usize,
    train: bool,
}

/// Batch norm, two convolutions with batch norm and ReLU between, batch norm; and a shortcut
/// without parameters.
#[derive(Module, Debug)]
struct Unit {
    bn1: BatchNorm,
    conv1: Conv2d,
    bn2: BatchNorm,
    conv2: Conv2d,
    bn3: BatchNorm,
}

impl Unit {
    fn new(inputs: usize, width: usize, stride: usize, device: &Device) -> Unit {
        Unit {
            bn1: BatchNormConfig::new(inputs).init(device),
            conv1: convolution(inputs, width, stride, device),
            bn2: BatchNormConfig::new(width).init(device),
            conv2: convolution(width, width, 1, device),
            bn3: BatchNormConfig::new(width).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let branch = self.conv1.forward(self.bn1.forward(x.clone()));
        let branch = self.conv2.forward(relu(self.bn2.forward(branch)));
        let branch = self.bn3.forward(branch);
        let shortcut = match self.conv1.stride {
            [2, 2] => AvgPool2dConfig::new([2, 2]).init().forward(x),
            _ => x,
        };
        let appended = branch.dims()[1] - shortcut.dims()[1];
        branch + shortcut.pad([(0, appended), (0, 0), (0, 0)], PadMode::Constant(0.0))
    }
}

/// Stem, units and head: images in NCHW to logits.
#[derive(Module, Debug)]
struct Model {
    conv1: Conv2d,
    bn1: BatchNorm,
    units: Vec<Unit>,
    bn_final: BatchNorm,
    fc: Linear,
}

impl Model {
    fn new(depth: usize, alpha: f64, device: &Device) -> Model {
        let stage = (depth - 2) / 6;
        let count = 3 * stage;
        let mut channels = STEM_WIDTH;
        let mut units = Vec::new();
        for number in 1..=count {
            let grown = alpha * number as f64 / count as f64;
            let width = (STEM_WIDTH as f64 + grown + 0.5).floor() as usize;
            // The first unit of the second and of the third stage halves the resolution.
            let stride = match number {
                1 => 1,
                _ if (number - 1) % stage == 0 => 2,
                _ => 1,
            };
            units.push(Unit::new(channels, width, stride, device));
            channels = width;
        }
        Model {
            conv1: convolution(3, STEM_WIDTH, 1, device),
            bn1: BatchNormConfig::new(STEM_WIDTH).init(device),
            units,
            bn_final: BatchNormConfig::new(channels).init(device),
            fc: LinearConfig::new(channels, CLASSES).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = self.bn1.forward(self.conv1.forward(images));
        for unit in &self.units {
            x = unit.forward(x);
        }
        let x = relu(self.bn_final.forward(x));
        let means = x.flatten::<3>(2, 3).mean_dim(2).flatten::<2>(1, 2);
        self.fc.forward(means)
    }
}

fn convolution(inputs: usize, outputs: usize, stride: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([inputs, outputs], [3, 3])
        .with_stride([stride, stride])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .with_bias(false)
        .init(device)
}

/// A step that can be repeated; its result is the loss or the logits.
type Step = Box<dyn FnMut() -> Tensor<1>>;

/// Inference on a batch, with the running statistics, which burn's batch norm updates on autodiff
/// devices only.
fn inference(task: &Task, device: &Device) -> Step {
    let model = Model::new(task.depth, task.alpha, device);
    let images = images(task.batch, device);
    Box::new(move || model.forward(images.clone()).flatten(0, 1))
}

/// Forward, mean cross-entropy, backward, and an update by SGD with Nesterov momentum.
///
/// The learning rate is zero, so that the weights stay finite although the images are noise.
fn training(task: &Task, device: &Device) -> Step {
    let device = device.clone().autodiff();
    let mut model = Some(Model::new(task.depth, task.alpha, &device));
    let images = images(task.batch, &device);
    let numbers = Tensor::<1, Int>::arange(0..task.batch as i64, &device);
    let labels = numbers.remainder_scalar(CLASSES as i64);
    let loss: CrossEntropyLoss = CrossEntropyLossConfig::new().init(&device);
    let momentum = MomentumConfig::new()
        .with_momentum(0.9)
        .with_dampening(0.0)
        .with_nesterov(true);
    let mut optimizer = SgdConfig::new()
        .with_momentum(Some(momentum))
        .with_weight_decay(Some(WeightDecayConfig::new(1e-4)))
        .init();
    Box::new(move || {
        let current = model.take().expect("every step stores a model");
        let loss = loss.forward(current.forward(images.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &current);
        model = Some(optimizer.step(0.0, current, gradients));
        loss.detach()
    })
}

fn images(batch: usize, device: &Device) -> Tensor<4> {
    Tensor::random(
        [batch, 3, SIZE, SIZE],
        Distribution::Normal(0.0, 1.0),
        device,
    )
}

/// Seconds per step, over several steps that are queued together.
fn watch(step: &mut Step, device: &Device, steps: usize) -> f64 {
    let start = Instant::now();
    // Kept until the device has finished, so that a lazy backend does not discard them.
    let results: Vec<Tensor<1>> = (0..steps).map(|_| step()).collect();
    device.sync().expect("the device finishes");
    // Read within the measured time, which proves that it was computed.
    let last = results.last().cloned().map(Tensor::into_data);
    let seconds = start.elapsed().as_secs_f64() / steps as f64;
    let finite = last.is_some_and(|data| data.iter::<f32>().all(f32::is_finite));
    assert!(finite, "the result is not finite");
    seconds
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// Runs steps until three are about as fast as the three before, which means that tuning has
/// finished; returns the seconds per step.
fn warm_up(step: &mut Step, device: &Device) -> f64 {
    let mut three = || median((0..3).map(|_| watch(step, device, 1)).collect());
    let mut before = three();
    for _ in 0..10 {
        let now = three();
        if (now - before).abs() <= 0.1 * before {
            return now;
        }
        before = now;
    }
    before
}

/// Median seconds per step over some time.
fn measure(step: &mut Step, device: &Device, steps: usize, seconds: f64) -> f64 {
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        samples.push(watch(step, device, steps));
    }
    median(samples)
}

/// The version of burn, from the lock file.
fn version() -> &'static str {
    let lock = include_str!("../Cargo.lock");
    let after = lock.split("name = \"burn\"\nversion = \"").nth(1);
    after.and_then(|text| text.split('"').next()).unwrap_or("?")
}

fn parse(arguments: &[String]) -> Option<Task> {
    let [depth, alpha, batch, mode] = arguments else {
        return None;
    };
    Some(Task {
        depth: depth.parse().ok().filter(|d| d % 6 == 2 && *d > 2)?,
        alpha: alpha.parse().ok()?,
        batch: batch.parse().ok().filter(|batch| *batch > 0)?,
        train: match mode.as_str() {
            "train" => true,
            "infer" => false,
            _ => return None,
        },
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(task) = parse(&arguments) else {
        eprintln!("usage: peer-burn DEPTH ALPHA BATCH train|infer");
        std::process::exit(2);
    };
    let start = Instant::now();
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    let name = device.identity().map_or("?".to_owned(), |who| who.name);
    let mut step = match task.train {
        true => training(&task, &device),
        false => inference(&task, &device),
    };
    let seconds = warm_up(&mut step, &device);
    // Short steps are queued together to amortise synchronisation.
    let steps = (0.02 / seconds).ceil() as usize;
    println!(
        "ready burn {} {name}, warm-up {:.0} s",
        version(),
        start.elapsed().as_secs_f64()
    );
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("standard input is text");
        let seconds: f64 = line.trim().parse().expect("a number of seconds");
        let seconds = measure(&mut step, &device, steps, seconds);
        println!("{:.3}", task.batch as f64 / seconds);
    }
}
