//! A stdout that is full or closed.

#![cfg(target_os = "linux")]

use std::fs;

use crate::{command, example, golden};

/// A result that cannot be written is an error, also that of `--help`; a closed pipe is none.
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let weights = golden("additive_basic.safetensors");
    let [input, logits] =
        ["input", "logits"].map(|part| golden(&format!("additive_basic.{part}.npy")));
    let star = example("star.png");
    let commands: [&[&str]; 8] = [
        &["--help"],
        &["--version"],
        &["help", "train"],
        &["bench", "-h"],
        &["summary"],
        &["summary", "--json"],
        &["predict", &weights, &star, "--device", "cpu"],
        &[
            "verify", &weights, "--input", &input, "--logits", &logits, "--device", "cpu",
        ],
    ];
    for arguments in commands {
        let full = fs::OpenOptions::new().write(true).open("/dev/full");
        let output = command(arguments)
            .stdout(full.unwrap())
            .stderr(std::process::Stdio::piped())
            .output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {stderr}");
        assert!(stderr.contains("stdout cannot be written"), "{stderr}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("error:"), "{stderr}");
    }
    // A closed pipe does not hide what went wrong.
    let compared = ["verify", &weights, "--input", &input, "--logits", &logits];
    let different = [&compared[..], &["--tolerance", "0", "--device", "cpu"]].concat();
    let missing = ["predict", &weights, "missing.png", &star, "--device", "cpu"];
    for (arguments, code) in [(&different[..], 1), (&missing, 4)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
