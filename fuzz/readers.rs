//! The readers of untrusted files, each as a function of bytes that must not panic, hang or take
//! more memory than it should. The page uses them too: `safetensors` and `image` for files,
//! `description` and `canvas` for the rest. The fuzz targets call them with mutated bytes,
//! `tests/corpus.rs` with the files in `fuzz/corpus`.

#![allow(dead_code, reason = "each fuzz target calls one of them")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use pyr_wgpu::checkpoint::{Checkpoint, read_npy};
use pyr_wgpu::data::{DatasetKind, Manifest, Resize, decode_image, fit_pixels, read_records};
use pyr_wgpu::graph::Precision;
use pyr_wgpu::graph::ops::{LOSS_SCALE_WORDS, METRIC_WORDS};
use pyr_wgpu::model::{Description, METADATA_KEY, Network, NetworkSpec, Preprocessing, Stem};
use pyr_wgpu::run::{Config, DataRecord, RunDirectory, SavedState};
use pyr_wgpu::train::{Recipe, Save, Snapshot};
use pyr_wgpu::trained_model::TrainedModel;

/// A checkpoint: for `predict`, `eval`, `verify` and the page.
pub(crate) fn safetensors(bytes: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_bytes(bytes) {
        let again = Checkpoint::from_bytes(&checkpoint.to_bytes());
        assert!(again.is_ok(), "what is written can be read");
        drop(TrainedModel::read(checkpoint, None));
    }
}

/// A NumPy array: for `verify`.
pub(crate) fn npy(bytes: &[u8]) {
    drop(read_npy(bytes));
}

/// A file of records of CIFAR-100, which has labels of two bytes.
pub(crate) fn cifar(bytes: &[u8]) {
    static MANIFEST: LazyLock<Manifest> = LazyLock::new(|| DatasetKind::Cifar100.manifest());
    let published = MANIFEST.published.as_ref().expect("it is published");
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    if read_records("CIFAR-100", published, bytes, &mut images, &mut labels).is_ok() {
        assert_eq!(images.len(), labels.len() * 32 * 32 * 3);
        assert_eq!(labels.len(), bytes.len() / (2 + 32 * 32 * 3));
    }
}

/// The description of a network, which the page reads before the weights have arrived.
pub(crate) fn description(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let metadata = BTreeMap::from([(METADATA_KEY.to_owned(), text)]);
    if let Ok(Some(description)) = Description::read(&metadata) {
        let mut again = BTreeMap::new();
        description.write(&mut again);
        let again = Description::read(&again).expect("what is written can be read");
        assert_eq!(again.as_ref(), Some(&description));
        drop(Network::new(&description.network));
    }
}

/// The pixels of a canvas of the page: width and height as 16-bit words, then RGB.
pub(crate) fn canvas(bytes: &[u8]) {
    if let Some((&[w0, w1, h0, h1], rgb)) = bytes.split_first_chunk() {
        let [width, height] = [[w0, w1], [h0, h1]].map(|word| u32::from(u16::from_le_bytes(word)));
        let fills = !rgb.is_empty() && width as usize * height as usize * 3 == rgb.len();
        let fitted = fit_pixels(width, height, rgb.to_vec(), Resize::whole(4));
        assert_eq!(fitted.is_ok(), fills);
    }
}

/// An image file.
pub(crate) fn image(bytes: &[u8]) {
    if let Ok(pixels) = decode_image(bytes, Resize::whole(4)) {
        assert_eq!(pixels.len(), 4 * 4 * 3);
    }
}

/// `config.toml` of a run.
pub(crate) fn config(bytes: &[u8]) {
    let run = directory("config.toml", bytes);
    if let Ok(run) = RunDirectory::open(run.path())
        && let Ok((config, _)) = run.config()
    {
        Network::new(&config.network).expect("a configuration is checked when it is read");
    }
}

/// `events.jsonl` of a run.
pub(crate) fn events(bytes: &[u8]) {
    let directory = with_config("events.jsonl", bytes);
    let run = RunDirectory::resume(directory.path()).expect("a configuration is enough");
    drop(run.history());
    if run.forget_from(2).is_ok() {
        let text = fs::read(run.file("events.jsonl")).expect("it was written");
        assert!(text.is_empty() || text.ends_with(b"\n"));
    }
}

/// `choices.json` of a run, and `environment.json`, which is read in the same way.
pub(crate) fn choices(bytes: &[u8]) {
    let directory = with_config("choices.json", bytes);
    let run = RunDirectory::open(directory.path()).expect("a configuration is enough");
    drop(run.choices());
    fs::write(run.file("environment.json"), bytes).expect("temporary files can be written");
    drop(run.devices());
}

/// The position in `state.safetensors`: as its text, or as numbers from which the text is made.
pub(crate) fn position(bytes: &[u8]) {
    static SAVED: LazyLock<(Network, Checkpoint)> = LazyLock::new(saved_state);
    let (network, state) = &*SAVED;
    let text = match bytes.starts_with(b"{") {
        true => String::from_utf8_lossy(bytes).into_owned(),
        false => position_text(bytes),
    };
    let mut state = state.clone();
    state.metadata.insert("pyr_wgpu_progress".to_owned(), text);
    state.metadata.remove("pyr_wgpu_checksum");
    let directory = with_config("state.safetensors", &state.to_bytes());
    let run = RunDirectory::open(directory.path()).expect("a configuration is enough");
    if let Ok(loaded) = run.load(network) {
        let position = loaded.snapshot.position;
        assert!(position.order.is_none_or(|order| position.fits(&order)));
        let SavedState {
            snapshot,
            progress,
            description,
        } = &loaded;
        let written = run.complete(network, description, snapshot, progress);
        assert!(!written.expect("temporary files can be written").is_empty());
    }
}

/// A small network, and its state before the first step.
fn saved_state() -> (Network, Checkpoint) {
    let spec = NetworkSpec {
        classes: 2,
        image_size: 8,
        ..NetworkSpec::pyramid(Stem::Cifar, 8, 3.0)
    };
    let network = Network::new(&spec).expect("the specification is legal");
    let config = Config {
        from: None,
        reset_classifier: false,
        freeze_until: None,
        dataset: "shapes".to_owned(),
        data: None,
        augmentation: Default::default(),
        seed: 1,
        micro_batch: None,
        shares: Vec::new(),
        sync_batch_norm: false,
        gradients: Precision::F32,
        fuse: true,
        recompute: false,
        precision: Precision::default(),
        network: spec.clone(),
        recipe: Recipe::for_dataset(DatasetKind::Shapes),
    };
    let description = Description {
        classes: vec!["a".to_owned(), "b".to_owned()],
        preprocessing: Preprocessing::new(&spec, [127.5; 3], [64.0; 3]),
        network: spec,
    };
    let data = DataRecord {
        test_images: 5,
        fingerprints: [1, 2],
    };
    let directory = with_config("choices.json", b"{}");
    let run = RunDirectory::open(directory.path()).expect("a configuration is enough");
    let save = Save {
        network: &network,
        snapshot: &Snapshot::initial(&network, 1),
        best: None,
    };
    run.save(&config, &description, data, save)
        .expect("temporary files can be written");
    let state = Checkpoint::load(&run.file("state.safetensors")).expect("it was written");
    (network, state)
}

/// The text of a position whose numbers are words of eight bytes, zero where there are no more.
fn position_text(bytes: &[u8]) -> String {
    let mut words = bytes.chunks(8).map(|bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    });
    let mut next = || words.next().unwrap_or(0);
    let position = format!(
        r#"{{"epoch":{},"step":{},"order":{{"seed":{},"images":{},"batch_size":{}}},"batches_tracked":{}"#,
        next() as u32,
        next() as u32,
        next(),
        next(),
        next(),
        next()
    );
    let best = format!(
        r#"{{"epoch":{},"test_top1_error":{}}}"#,
        next() as u32,
        next() as i8
    );
    let metrics = [(); METRIC_WORDS].map(|()| next() as u32);
    let loss_scale = [(); LOSS_SCALE_WORDS].map(|()| next() as u32);
    format!(
        r#"{{"position":{position},"metrics":{metrics:?},"loss_scale":{loss_scale:?}}},"best":{best}}}"#
    )
}

/// A directory with one file.
fn directory(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let root = match Path::new("/dev/shm").is_dir() {
        true => "/dev/shm".into(),
        false => std::env::temp_dir(),
    };
    let directory = tempfile::tempdir_in(root).expect("temporary files can be written");
    fs::write(directory.path().join(name), bytes).expect("temporary files can be written");
    directory
}

/// A directory with one file beside an empty configuration.
fn with_config(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let directory = directory(name, bytes);
    fs::write(directory.path().join("config.toml"), "").expect("temporary files can be written");
    directory
}
