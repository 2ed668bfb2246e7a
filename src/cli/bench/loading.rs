//! `pyr-wgpu bench --data`: the speed at which training images are read, decoded and augmented,
//! without a network.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;

use super::super::cache;
use super::super::error::CliError;
use super::super::{print_json, print_line};
use crate::data::{self, Augmentation, DatasetKind, EpochKey, Loader, Request};
use crate::model::Stem;

/// Images that a loader is given at once: a small folder is read several times.
const AT_ONCE: usize = 1 << 20;

/// What to measure.
pub(super) struct Loading {
    pub(super) directory: PathBuf,
    pub(super) image_size: u32,
    pub(super) batch_size: usize,
    pub(super) workers: usize,
    pub(super) seconds: f64,
}

/// Measures and prints.
///
/// # Errors
/// If the folder is no dataset, or too many images cannot be read.
pub(super) fn run(loading: Loading, json: bool) -> Result<(), CliError> {
    let Loading {
        directory,
        image_size,
        batch_size,
        workers,
        seconds,
    } = loading;
    Stem::ImageNet.check_image_size(image_size)?;
    let opened = data::open(&Request {
        kind: DatasetKind::ImageNet,
        dir: Some(directory),
        resize: Stem::ImageNet.resize(image_size),
        need_train: true,
        augmentation: Augmentation::ImageNet,
        cache: cache::listings(),
    })?;
    let train = opened.train.expect("it was requested");
    let key = EpochKey { seed: 1, epoch: 1 };
    let order = key.order(train.len());
    let order: Vec<u32> = order.into_iter().cycle().take(AT_ONCE).collect();
    let batches = order.chunks(batch_size).map(<[u32]>::to_vec).collect();
    let mut loader = Loader::new(train.clone(), batches, Some(key), workers, Loader::AHEAD);
    // From then on all threads are busy.
    let first = loader.next().expect("the folder has images")?;
    let mut read = Vec::new();
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds {
        let Some(batch) = loader.next() else { break };
        read.extend(batch?.indices);
    }
    let elapsed = start.elapsed().as_secs_f64();
    drop(loader);
    let size = |index: &u32| {
        let path = train.path(*index as usize)?;
        Some(fs::metadata(path).ok()?.len())
    };
    let bytes: u64 = read.iter().filter_map(size).sum();
    let images_per_second = read.len() as f64 / elapsed;
    let megabytes_per_second = 1e-6 * bytes as f64 / elapsed;
    if json {
        return print_json(&json!({
            "images": read.len(),
            "seconds": elapsed,
            "images_per_second": images_per_second,
            "megabytes_per_second": megabytes_per_second,
            "workers": workers,
            "batch_size": first.indices.len(),
            "image_size": image_size,
        }));
    }
    print_line(&format!(
        "training images of {image_size}x{image_size}, augmented as for ImageNet, in batches of \
         {batch_size}, {workers} workers\n  \
         speed        {images_per_second:.1} images/s, {megabytes_per_second:.1} MB/s of files \
         ({} images in {elapsed:.1} s)",
        read.len()
    ))?;
    train
        .notes()
        .iter()
        .try_for_each(|note| print_line(&format!("  note         {note}")))
}
