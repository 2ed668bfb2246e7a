//! Short runs on noise, which a network can only memorise.

use std::sync::Arc;
use std::time::Duration;

use pyr_wgpu::data::{DataError, EpochKey, Source};
use pyr_wgpu::engine::{Device, EngineError, built_in};
use pyr_wgpu::graph::{Graph, Passes, Precision};
use pyr_wgpu::kernels::{self, Choices, MATRIX_NAMES, Target};
use pyr_wgpu::model::{Network, NetworkSpec, Preprocessing, Stem};
use pyr_wgpu::ranks::Ranks;
use pyr_wgpu::rng::{Purpose, Stream};
use pyr_wgpu::train::{
    AutoAugment, EpochMetrics, Event, Options, Position, Recipe, Save, SaveInterval, Schedule,
    Session, SessionOptions, Snapshot, Store, TrainError, Trainer,
};
use pyr_wgpu::verify::RecordedBatch;

pub const CLASSES: u32 = 5;

/// Images of noise, whose labels cycle through the classes.
struct Noise {
    size: u32,
    bytes: Vec<u8>,
    labels: Vec<u32>,
    /// Whether the whole set may be resident on the device.
    resident: bool,
}

impl Noise {
    fn new(size: u32, count: usize, resident: bool) -> Noise {
        let mut stream = Stream::new(99, Purpose::Shapes, 0, 0);
        let length = (size * size * 3) as usize * count;
        let bytes = (0..length).map(|_| stream.next_u32() as u8).collect();
        Noise {
            size,
            bytes,
            labels: (0..count as u32).map(|index| index % CLASSES).collect(),
            resident,
        }
    }

    fn without_contrast_but(mut self, image: usize) -> Noise {
        let length = self.bytes.len() / self.labels.len();
        let images = self.bytes.chunks_mut(length);
        for (_, bytes) in images.enumerate().filter(|(index, _)| *index != image) {
            bytes.fill(128);
        }
        self
    }

    fn replace(&mut self, images: &[u32], by: &[u32]) {
        let length = self.bytes.len() / self.labels.len();
        let (bytes, labels) = (self.bytes.clone(), self.labels.clone());
        for (image, other) in images.iter().zip(by) {
            let [image, other] = [*image as usize, *other as usize];
            self.labels[image] = labels[other];
            let contents = &bytes[other * length..][..length];
            self.bytes[image * length..][..length].copy_from_slice(contents);
        }
    }
}

impl Source for Noise {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[index]
    }

    fn size(&self) -> u32 {
        self.size
    }

    fn read(&self, index: usize, _: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        let length = out.len();
        out.copy_from_slice(&self.bytes[index * length..(index + 1) * length]);
        Ok(())
    }

    fn resident(&self) -> Option<&[u8]> {
        self.resident.then_some(&self.bytes)
    }
}

/// The parameters of a run on noise.
#[derive(Clone)]
pub struct Run {
    pub spec: NetworkSpec,
    pub options: Options,
    pub images: usize,
    pub resident: bool,
    /// If set, the only training image with any contrast; the others have the value 128.
    pub contrast: Option<usize>,
    /// Whether convolutions use matrix units where they can.
    pub matrices: bool,
    /// Stages that are frozen, with the stem.
    pub frozen: Option<u32>,
    /// If set, two lists of the training images: each image of the first has the contents and the label
    /// of the one beside it.
    pub replaced: Option<[Vec<u32>; 2]>,
}

impl Run {
    pub fn new(image_size: u32, images: usize, batch_size: usize) -> Run {
        let spec = NetworkSpec {
            classes: CLASSES,
            image_size,
            ..NetworkSpec::pyramid(Stem::Cifar, 8, 3.0)
        };
        let recipe = Recipe {
            epochs: 3,
            batch_size,
            learning_rate: 0.1,
            schedule: Schedule::Step,
            power: 1.0,
            warmup: 0,
            momentum: 0.9,
            weight_decay: 1e-4,
            milestones: vec![3],
            augment: false,
            clip_grad_norm: None,
            ema: None,
            patience: None,
            auto_augment: AutoAugment::None,
            erase: 0.0,
            cutout: None,
            mixup: None,
            cutmix: None,
            label_smoothing: 0.0,
        };
        Run {
            options: Options {
                recipe,
                micro_batch: None,
                shares: Vec::new(),
                sync_batch_norm: false,
                gradients: Precision::F32,
                seed: 7,
                passes: Passes::default(),
                workers: 2,
                preprocessing: Preprocessing::new(&spec, [120.0, 127.5, 130.0], [70.0, 73.9, 80.0]),
            },
            spec,
            images,
            resident: true,
            contrast: None,
            matrices: false,
            frozen: None,
            replaced: None,
        }
    }

    /// A run with all random operations (transforms, flips, crops, erasing, mixing, dropout,
    /// ShakeDrop) and everything that follows an update: clipping and averages.
    pub fn random(image_size: u32, images: usize, batch_size: usize) -> Run {
        let mut run = Run::new(image_size, images, batch_size);
        run.spec.dropout = 0.3;
        run.spec.shakedrop = 0.6;
        run.options.recipe = Recipe {
            augment: true,
            clip_grad_norm: Some(1.0),
            ema: Some(0.8),
            auto_augment: AutoAugment::Rand,
            erase: 0.5,
            cutout: Some(3),
            mixup: Some(0.4),
            cutmix: Some(1.0),
            label_smoothing: 0.1,
            ..run.options.recipe
        };
        run
    }

    pub fn network(&self) -> Network {
        let mut network = Network::new(&self.spec).unwrap();
        if let Some(stages) = self.frozen {
            network.freeze_until(stages).unwrap();
        }
        network
    }

    pub fn train_source(&self) -> Arc<dyn Source> {
        let mut noise = Noise::new(self.spec.image_size, self.images, self.resident);
        if let Some(image) = self.contrast {
            noise = noise.without_contrast_but(image);
        }
        if let Some([images, by]) = &self.replaced {
            noise.replace(images, by);
        }
        Arc::new(noise)
    }

    /// Thirteen images: not a multiple of any batch size.
    pub fn test_source(&self) -> Arc<dyn Source> {
        Arc::new(Noise::new(self.spec.image_size, 13, self.resident))
    }

    /// Initial weights of the seed, and zero velocity.
    pub fn start(&self) -> Snapshot {
        Snapshot::initial(&self.network(), self.options.seed)
    }

    pub fn trainer(&self, device: &Device, from: &Snapshot) -> Trainer {
        self.trainer_on(std::slice::from_ref(device), from)
    }

    /// With a replica on each device.
    pub fn trainer_on(&self, devices: &[Device], from: &Snapshot) -> Trainer {
        self.trainer_of(devices, None, from)
    }

    /// With a replica on each device, on one of several ranks if there are any.
    pub fn trainer_of(
        &self,
        devices: &[Device],
        ranks: Option<&Ranks>,
        from: &Snapshot,
    ) -> Trainer {
        let trainer = Trainer::new(
            devices,
            ranks,
            self.network(),
            self.options.clone(),
            self.train_source(),
            self.test_source(),
            |device, graphs| match self.matrices {
                false => built_in(graphs),
                true => by_matrices(&device.target(), graphs),
            },
        );
        let mut trainer = trainer.unwrap_or_else(|e| panic!("{e}"));
        trainer.restore(from);
        trainer
    }

    /// Image numbers of each step of an epoch.
    pub fn order(&self, epoch: u32) -> Vec<Vec<u32>> {
        let mut stream = Stream::new(self.options.seed, Purpose::Shuffle, epoch, 0);
        let order = stream.permutation(self.images);
        order
            .chunks(self.options.recipe.batch_size)
            .map(<[u32]>::to_vec)
            .collect()
    }

    /// Some images as a normalised NCHW batch, PyTorch's layout.
    pub fn batch(&self, indices: &[u32]) -> RecordedBatch {
        let source = self.train_source();
        let Preprocessing { mean, std, .. } = self.options.preprocessing;
        let plane = (self.spec.image_size * self.spec.image_size) as usize;
        let mut input = Vec::new();
        for index in indices {
            let mut bytes = vec![0; 3 * plane];
            source.read(*index as usize, None, &mut bytes).unwrap();
            for channel in 0..3 {
                let values = bytes.iter().skip(channel).step_by(3);
                input.extend(values.map(|b| (f32::from(*b) - mean[channel]) / std[channel]));
            }
        }
        RecordedBatch {
            input,
            size: indices.len(),
            labels: indices.iter().map(|i| source.label(*i as usize)).collect(),
        }
    }
}

/// Chooses matrix units for all nodes for which they are candidates on a graphics card.
fn by_matrices(target: &Target, graphs: &[Graph]) -> Result<Choices, EngineError> {
    let card = Target {
        software: false,
        ..target.clone()
    };
    let mut choices = Choices::default();
    for graph in graphs {
        for offer in kernels::lower(graph, &card, &Choices::default())?.offers {
            let mut candidates = offer.candidates().iter();
            let name = candidates.find(|name| MATRIX_NAMES.contains(name)).copied();
            if let Some(name) = name {
                choices.set(offer.key, name);
            }
        }
    }
    Ok(choices)
}

/// All the bits of a state.
pub fn bits(snapshot: &Snapshot) -> (Vec<(String, Vec<u32>)>, Position) {
    let optimizer = snapshot.optimizer.values().flatten();
    let averages = snapshot.averages.iter().flatten();
    let tensors = snapshot.weights.iter().chain(optimizer).chain(averages);
    let words = tensors.map(|(name, values)| {
        let bits = values.iter().map(|v| v.to_bits()).collect();
        (name.clone(), bits)
    });
    (words.collect(), snapshot.position)
}

/// Stores in memory all states that a session saves.
#[derive(Default)]
pub struct Memory(pub Vec<Snapshot>);

impl Store for Memory {
    type Error = TrainError;

    fn save(&mut self, save: Save<'_>) -> Result<(), TrainError> {
        self.0.push(save.snapshot.clone());
        Ok(())
    }
}

/// Options of a session that emits as many events as possible.
pub fn talkative(save: SaveInterval) -> SessionOptions {
    SessionOptions {
        run: None,
        save,
        interval: Duration::ZERO,
        max_steps: 1,
    }
}

/// A session on a trainer, whose clock stands still.
pub fn session(trainer: Trainer) -> Session {
    let clock = Box::new(|| Duration::ZERO);
    Session::start(trainer, talkative(SaveInterval::Epoch), clock)
}

/// Trains to the end; returns metrics and state after every epoch.
pub async fn finish(trainer: Trainer) -> Vec<(EpochMetrics, Snapshot)> {
    let mut session = session(trainer);
    let mut memory = Memory::default();
    let mut epochs = Vec::new();
    while let Some(event) = session.next(&mut memory).await.unwrap() {
        if let Event::Epoch(metrics) = event {
            epochs.push(metrics);
        }
    }
    assert_eq!(epochs.len(), memory.0.len());
    epochs.into_iter().zip(memory.0).collect()
}

/// The metrics of an epoch that depend on the network alone; the others depend on time and on
/// where the session started.
pub fn learnt(row: &EpochMetrics) -> (u32, [f64; 4]) {
    let errors = [row.train_top1_error, row.test_top1_error];
    (
        row.epoch,
        [row.train_loss, row.test_loss, errors[0], errors[1]],
    )
}

/// Every device.
pub fn devices() -> Vec<&'static Device> {
    super::fast_devices().chain([&Device::Reference]).collect()
}

/// Every device with every precision that it supports.
pub fn precisions() -> Vec<(&'static Device, Precision)> {
    let single = devices().into_iter().map(|d| (d, Precision::F32));
    let able = |device: &&Device| !matches!(device, Device::Cpu(_));
    let half = devices().into_iter().filter(able);
    single.chain(half.map(|d| (d, Precision::F16))).collect()
}
