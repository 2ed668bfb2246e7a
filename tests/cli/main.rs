//! The binary as users run it: output, exit codes, and the text of errors, which must name the
//! cause and the next step. No test needs an adapter.

mod arguments;
mod augmentation;
mod bench;
mod checkpoints;
mod data;
mod devices;
mod doctor;
mod estimate;
mod fine_tuning;
mod memory;
mod names;
mod options;
mod predict;
mod results;
mod runs;
mod schedules;
mod selftest;
mod stdout;
mod verify;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pyr_wgpu::checkpoint::Checkpoint;

/// The model that the page ships: CIFAR-10, images of 32x32.
const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/web/models/cifar10.safetensors"
);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyr-wgpu"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs a command that must fail; checks its exit code and words of its error.
fn fails(arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    for word in words {
        assert!(
            stderr.contains(word),
            "{arguments:?} lacks `{word}`: {stderr}"
        );
    }
}

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn golden(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

/// A golden checkpoint with a change, in a directory.
fn changed(directory: &Path, change: impl FnOnce(&mut Checkpoint)) -> String {
    let weights = golden("additive_basic.safetensors");
    let mut checkpoint = Checkpoint::load(Path::new(&weights)).unwrap();
    change(&mut checkpoint);
    let name = path(directory, "changed.safetensors");
    checkpoint.save(Path::new(&name)).unwrap();
    name
}

fn example(name: &str) -> String {
    format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// A `.npy` file of little-endian values.
fn npy(directory: &Path, name: &str, descr: &str, shape: &[usize], data: &[u8]) -> String {
    let extents: String = shape.iter().map(|extent| format!("{extent},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents})}}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    let name = path(directory, name);
    fs::write(&name, bytes).unwrap();
    name
}
