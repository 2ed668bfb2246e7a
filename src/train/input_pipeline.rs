//! The input pipeline: from a data source to the batches of an engine.
//!
//! A split that fits one binding of the device is uploaded once, as bytes, and a batch is a list
//! of row indices. For a larger split, and one that is augmented where it is decoded, the images of
//! each batch are uploaded; threads read them ahead where the source is not in memory.

use std::sync::Arc;
use std::time::Duration;

use super::TrainError;
use crate::data::{Batch, EpochKey, Loader, Source};
use crate::engine::{Device, Engine, ValueHandle};
use crate::graph::ops::{AssembleBatch, IGNORED};
use crate::model::{BatchAugmentation, Input, Preprocessing, names};
use crate::shape::PixelFormat;

/// Largest split that is kept on the device, in bytes; it should leave room for the network.
const DEVICE_LIMIT: u64 = 1 << 30;

/// One split of a dataset, on its way to a device.
pub(super) struct InputPipeline {
    source: Arc<dyn Source>,
    /// Name of the graph's value that holds the images.
    value: &'static str,
    resident: bool,
    workers: usize,
    /// Devices of this process.
    devices: usize,
}

/// The engine's values that a batch writes.
pub(super) struct BatchValues {
    images: ValueHandle,
    rows: ValueHandle,
    samples: ValueHandle,
    labels: ValueHandle,
}

/// Batches in order.
pub(super) struct Batches {
    loader: Option<Loader>,
    source: Arc<dyn Source>,
    order: std::vec::IntoIter<Vec<u32>>,
}

impl InputPipeline {
    /// Decides whether the split stays on the devices: on all or none of them. `value` names the
    /// graph's value that holds the images; `workers` is the number of threads of the loader.
    pub(super) fn new(
        source: Arc<dyn Source>,
        value: &'static str,
        devices: &[Device],
        workers: usize,
    ) -> InputPipeline {
        let words = AssembleBatch::image_words(source.size() as usize, PixelFormat::U8);
        let bytes = 4 * words * source.views() * source.len();
        let limits = devices.iter().map(|device| match device {
            Device::Gpu(_) => device.target().max_binding.min(DEVICE_LIMIT),
            Device::Cpu(_) => DEVICE_LIMIT,
            // The reference would convert the whole split at every step.
            Device::Reference => 0,
        });
        let limit = limits.min().unwrap_or(0);
        InputPipeline {
            resident: source.resident().is_some() && bytes as u64 <= limit,
            source,
            value,
            workers,
            devices: devices.len(),
        }
    }

    /// Number of images.
    pub(super) fn len(&self) -> usize {
        self.source.len()
    }

    /// Whether another image was read in place of this one, as [`Source::is_damaged`] says.
    pub(super) fn is_damaged(&self, index: usize) -> bool {
        self.source.is_damaged(index)
    }

    /// The input of a graph for batches of `batch` images.
    pub(super) fn input(
        &self,
        batch: usize,
        preprocessing: &Preprocessing,
        augmentation: BatchAugmentation,
    ) -> Input {
        Input::Images {
            name: self.value,
            count: self.source.views() * if self.resident { self.len() } else { batch },
            pixels: self.source.pixels(augmentation.flip_and_crop),
            preprocessing: *preprocessing,
            augmentation,
        }
    }

    /// Uploads a resident split; returns the values that batches write.
    pub(super) fn upload(&self, engine: &mut Engine) -> BatchValues {
        let values = BatchValues {
            images: engine.value(self.value),
            rows: engine.value(names::ROWS),
            samples: engine.value(names::SAMPLES),
            labels: engine.value(names::LABELS),
        };
        if let (true, Some(bytes)) = (self.resident, self.source.resident()) {
            engine.write(
                values.images,
                &AssembleBatch::pack_images(bytes, self.len() * self.source.views()),
            );
        }
        values
    }

    /// Batches of the given image indices for all devices, prepared ahead; `key` as in
    /// [`Loader::new`].
    pub(super) fn batches(&self, order: Vec<Vec<u32>>, key: Option<EpochKey>) -> Batches {
        self.batches_of(order, key, self.workers, Loader::AHEAD * self.devices)
    }

    /// Batches for one of the devices, each of which has its own.
    pub(super) fn batches_of_device(&self, order: Vec<Vec<u32>>) -> Batches {
        let workers = self.workers.div_ceil(self.devices);
        self.batches_of(order, None, workers, Loader::AHEAD)
    }

    fn batches_of(
        &self,
        order: Vec<Vec<u32>>,
        key: Option<EpochKey>,
        workers: usize,
        ahead: usize,
    ) -> Batches {
        let loader = (!self.resident).then(|| {
            let source = Arc::clone(&self.source);
            Loader::new(source, order.clone(), key, workers, ahead)
        });
        Batches {
            loader,
            source: Arc::clone(&self.source),
            order: order.into_iter(),
        }
    }

    /// Writes a batch, filled up to `size` with copies of its first image whose label is
    /// [`IGNORED`].
    pub(super) fn write(
        &self,
        engine: &mut Engine,
        values: &BatchValues,
        batch: &Batch,
        size: usize,
    ) {
        let mut samples = batch.indices.clone();
        let mut labels = batch.labels.clone();
        samples.resize(size, batch.indices[0]);
        labels.resize(size, IGNORED);
        let images: Vec<u32> = match self.resident {
            true => samples.clone(),
            false => {
                let count = batch.indices.len();
                let words = AssembleBatch::pack_images(&batch.images, count * self.source.views());
                engine.write(values.images, &words);
                let last = count as u32;
                (0..size as u32)
                    .map(|row| if row < last { row } else { 0 })
                    .collect()
            }
        };
        let views = self.source.views() as u32;
        let rows = images
            .iter()
            .flat_map(|image| (0..views).map(move |view| image * views + view));
        let rows: Vec<u32> = rows.collect();
        let samples = samples
            .iter()
            .flat_map(|sample| (0..views).map(move |_| *sample));
        let samples: Vec<u32> = samples.collect();
        engine.write(values.rows, &rows);
        engine.write(values.samples, &samples);
        engine.write(values.labels, &labels);
    }
}

impl Batches {
    /// The next batch; `None` after the last.
    pub(super) fn next(&mut self) -> Option<Result<Batch, TrainError>> {
        let indices = self.order.next()?;
        match &mut self.loader {
            Some(loader) => loader.next().map(|batch| Ok(batch?)),
            None => Some(Ok(Batch {
                images: Vec::new(),
                labels: indices
                    .iter()
                    .map(|i| self.source.label(*i as usize))
                    .collect(),
                indices,
            })),
        }
    }

    /// Time spent waiting for data.
    pub(super) fn waited(&self) -> Duration {
        self.loader.as_ref().map_or(Duration::ZERO, Loader::waited)
    }
}
