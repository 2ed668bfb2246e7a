//! What does not fit in memory is refused before it is allocated. Elsewhere the available memory is
//! unknown.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::{MODEL, example, fails, golden, npy, path};

#[test]
fn what_does_not_fit_in_memory_is_refused_with_what_does() {
    let network = ["--depth", "8", "--alpha", "8", "--image-size", "4096"];
    for device in ["cpu", "reference"] {
        let bench = ["bench", "--batch-size", "200", "--device", device];
        let words = ["memory are needed", "are available"];
        fails(&[&bench[..], &network].concat(), 3, &words);
    }
    let network = ["--depth", "8", "--alpha", "8", "--image-size", "512"];
    let directory = tempfile::tempdir().unwrap();
    let run_dir = path(directory.path(), "run");
    let train = [
        "train",
        "--batch-size",
        "4000",
        "--device",
        "cpu",
        "--run-dir",
        &run_dir,
    ];
    fails(
        &[&train[..], &network].concat(),
        3,
        &["memory are needed", "--micro-batch"],
    );
    assert!(!Path::new(&run_dir).exists());
    let limited = |arguments: &[&str], words: &[&str]| {
        let mut shell = Command::new("sh");
        let output = shell
            .args(["-c", "ulimit -v 1500000; exec \"$0\" \"$@\""])
            .arg(env!("CARGO_BIN_EXE_pyr-wgpu"))
            .args(arguments)
            .args(["--device", "cpu"])
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "lacks `{word}`: {stderr}");
        }
    };
    let star = example("star.png");
    let predict = ["predict", MODEL, &star, "--image-size", "4096"];
    limited(
        &predict,
        &["memory are needed", "--image-size", "would fit"],
    );
    let images = vec![0; 4096 * 3 * 32 * 32 * 4];
    let input = npy(
        directory.path(),
        "many.npy",
        "<f4",
        &[4096, 3, 32, 32],
        &images,
    );
    let labels = npy(
        directory.path(),
        "labels.npy",
        "<i8",
        &[4096],
        &[0; 4096 * 8],
    );
    let (weights, grads) = (
        golden("additive_basic.safetensors"),
        golden("additive_basic.grads.safetensors"),
    );
    let verify = [
        "verify", &weights, "--input", &input, "--labels", &labels, "--grads", &grads,
    ];
    limited(
        &verify,
        &["memory are needed", "--input with a batch of", "would fit"],
    );
}
