//! What does not fit in memory is refused before it is allocated. Elsewhere the available memory is
//! unknown.

#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use crate::{MODEL, example, fails, golden, npy, path, run};

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
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "lacks `{word}`: {stderr}");
        }
    };
    // A share fits, but not two in the same memory.
    let train = "train --depth 8 --alpha 8 --image-size 64 --batch-size 600 --epochs 1 --run-dir";
    let mut train: Vec<&str> = train.split(' ').collect();
    train.extend([&run_dir[..], "--devices", "cpu,cpu"]);
    limited(
        &train,
        &["1.5 GiB of memory are needed", "--micro-batch", "would fit"],
    );
    assert!(!Path::new(&run_dir).exists());
    let star = example("star.png");
    let predict = ["predict", MODEL, &star, "--image-size", "4096"];
    let predict = [&predict[..], &["--device", "cpu"]].concat();
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
        "verify", &weights, "--input", &input, "--labels", &labels, "--grads", &grads, "--device",
        "cpu",
    ];
    limited(
        &verify,
        &["memory are needed", "--input with a batch of", "would fit"],
    );
}

/// The largest micro-batch that fits is chosen, and activations are recomputed before it becomes
/// smaller.
#[test]
fn steps_fit_the_memory_that_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let network = [
        "train",
        "--depth",
        "20",
        "--alpha",
        "12",
        "--batch-size",
        "96",
    ];
    let rest = ["--epochs", "1", "--device", "cpu", "--image-size", "16"];
    let auto = ["--micro-batch", "auto", "--recompute", "auto"];
    let flags = [&network[..], &rest, &auto].concat();
    // What steps need, from the messages about memory that does not suffice.
    let chosen = |memory: &str, name: &str| {
        let run_dir = path(directory.path(), name);
        let output = run(&[&flags[..], &["--memory", memory, "--run-dir", &run_dir]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        let line = text
            .lines()
            .find(|line| line.starts_with("memory: ") && line.contains(" of "));
        let config = std::fs::read_to_string(directory.path().join(name).join("config.toml"));
        (line.unwrap().to_owned(), config.unwrap())
    };
    let (line, config) = chosen("8GiB", "whole");
    assert!(line.contains("the whole batch of 96 needs"), "{line}");
    assert!(!config.contains("micro_batch") && config.contains("recompute = false"));
    let whole: f64 = number_before(&line, " MiB of");
    let (line, config) = chosen(&format!("{}MiB", whole * 0.95), "recomputed");
    assert!(
        line.contains("whole batch of 96 with --recompute"),
        "{line}"
    );
    assert!(!config.contains("micro_batch") && config.contains("recompute = true"));
    let recomputed: f64 = number_before(&line, " MiB of");
    let (line, config) = chosen(&format!("{}MiB", recomputed * 0.8), "smaller");
    assert!(line.contains("a micro-batch of "), "{line}");
    assert!(config.contains("micro_batch = "), "{config}");
    assert!(number_before(&line, " MiB of") <= recomputed * 0.8);

    fails(
        &[&flags[..], &["--memory", "100KiB"]].concat(),
        3,
        &["--memory", "100.0 KiB"],
    );
    fails(
        &[&network[..], &["--memory", "1GiB"]].concat(),
        2,
        &["--micro-batch auto"],
    );
    fails(&[&flags[..], &["--memory", "6"]].concat(), 2, &["6GiB"]);
    let run_dir = path(directory.path(), "whole");
    fails(
        &["train", "--resume", &run_dir, "--recompute", "auto"],
        2,
        &["auto"],
    );
}

/// The number before some words.
fn number_before(text: &str, words: &str) -> f64 {
    let before = text.split(words).next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}
