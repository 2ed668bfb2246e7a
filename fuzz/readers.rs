//! The readers of files that may come from strangers, each as a function of bytes that must not
//! panic, hang or take more memory than it should. The fuzz targets call them with mutated bytes,
//! `tests/corpus.rs` with the files in `fuzz/corpus`.

#![allow(dead_code, reason = "each fuzz target calls one of them")]

use std::fs;
use std::path::Path;

use pyr_wgpu::checkpoint::{Checkpoint, read_npy};
use pyr_wgpu::data::{Resize, decode_image};
use pyr_wgpu::model::{Description, Network, Preprocessing, preset};
use pyr_wgpu::run::RunDirectory;
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

/// An image file.
pub(crate) fn picture(bytes: &[u8]) {
    if let Ok(pixels) = decode_image(bytes, Resize::whole(4)) {
        assert_eq!(pixels.len(), 4 * 4 * 3);
    }
}

/// `config.toml` of a run.
pub(crate) fn config(bytes: &[u8]) {
    let run = directory("config.toml", bytes);
    if let Ok(run) = RunDirectory::open(run.path())
        && let Ok(config) = run.config()
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
    drop(run.device());
}

/// The position in `state.safetensors`.
pub(crate) fn position(bytes: &[u8]) {
    let directory = with_config("choices.json", b"{}");
    let run = RunDirectory::open(directory.path()).expect("a configuration is enough");
    let spec = preset("demo").expect("the preset exists");
    let mut state = Checkpoint::default();
    let text = String::from_utf8_lossy(bytes).into_owned();
    state.metadata.insert("pyr_wgpu_progress".to_owned(), text);
    let description = Description {
        classes: (0..spec.classes).map(|class| class.to_string()).collect(),
        preprocessing: Preprocessing::new(&spec, [127.5; 3], [64.0; 3]),
        network: spec.clone(),
    };
    description.write(&mut state.metadata);
    let path = run.file("state.safetensors");
    state.save(&path).expect("temporary files can be written");
    let network = Network::new(&spec).expect("a preset is legal");
    let loaded = run.load(&network);
    assert!(loaded.is_err(), "the state has no tensors");
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
