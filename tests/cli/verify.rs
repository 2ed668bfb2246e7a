//! Comparison with recorded arrays, and the errors of their files.

use std::path::Path;

use pyr_wgpu::checkpoint::{Checkpoint, StoredTensor};

use crate::{fails, golden, json, npy, path, run};

#[test]
fn verify_agrees_with_pytorch_and_notices_a_difference() {
    let name = golden("additive_basic");
    let file = |suffix: &str| format!("{name}{suffix}");
    let (weights, input) = (file(".safetensors"), file(".input.npy"));
    let (logits, labels) = (file(".logits.npy"), file(".labels.npy"));
    let (grads, state) = (file(".grads.safetensors"), file(".state1.safetensors"));
    let arguments = [
        "verify", &weights, "--input", &input, "--logits", &logits, "--labels", &labels, "--grads",
        &grads, "--steps", "1", "--lr", "0.1", "--state", &state, "--device", "cpu", "--json",
    ];
    let document = json(&arguments);
    for part in ["logits", "grads", "state"] {
        assert!(
            document[part]["rel_l2"].as_f64().unwrap() < 5e-5,
            "{document}"
        );
    }
    assert!(document["state"]["update_rel_l2"].as_f64().unwrap() < 5e-5);
    let strict = run(&[&arguments[..arguments.len() - 1], &["--tolerance", "1e-12"]].concat());
    assert_eq!(strict.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&strict.stdout).contains("DIFFERENT"));
}

#[test]
fn a_comparison_of_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let name = golden("additive_basic");
    let file = |suffix: &str| format!("{name}{suffix}");
    let (weights, input) = (file(".safetensors"), file(".input.npy"));
    let (logits, labels) = (file(".logits.npy"), file(".labels.npy"));
    let verify = |input: &str, flags: &[&str], code: i32, words: &[&str]| {
        let verify = ["verify", &weights, "--input", input, "--device", "cpu"];
        fails(&[&verify[..], flags].concat(), code, words);
    };
    let compare = ["--logits", &*logits];
    for tolerance in ["inf", "nan", "-1"] {
        let tolerance = format!("--tolerance={tolerance}");
        verify(
            &input,
            &[&compare[..], &[&tolerance]].concat(),
            2,
            &["--tolerance"],
        );
    }
    for steps in ["0", "99999999999"] {
        let flags = ["--labels", &labels, "--losses", &logits, "--steps", steps];
        verify(&input, &flags, 2, &["1..=1000000"]);
    }
    let empty = npy(directory.path(), "empty.npy", "<f4", &[0, 3, 32, 32], &[]);
    verify(&empty, &compare, 4, &["empty.npy", "at least one"]);
    let wide = 32 + (1 << 32);
    let wide = npy(
        directory.path(),
        "wide.npy",
        "<f4",
        &[0, 3, wide, wide],
        &[],
    );
    verify(&wide, &compare, 4, &["wide.npy"]);
    let foreign = [0i64, 10, 1, 2].map(i64::to_le_bytes).concat();
    let foreign = npy(directory.path(), "foreign.npy", "<i8", &[4], &foreign);
    let grads = file(".grads.safetensors");
    let flags = ["--labels", &foreign, "--grads", &grads];
    verify(
        &input,
        &flags,
        4,
        &["foreign.npy", "label 10 at index 1", "0 to 9"],
    );
    let poisoned = [f32::NAN; 3 * 32 * 32].map(f32::to_le_bytes).concat();
    let poisoned = npy(
        directory.path(),
        "nan.npy",
        "<f4",
        &[1, 3, 32, 32],
        &poisoned,
    );
    verify(&poisoned, &compare, 4, &["nan.npy", "NaN at element 0"]);
}

/// Arrays are data (exit code 4), weights and recorded tensors checkpoints (5), and both are read
/// before a device is opened.
#[test]
fn verify_names_the_file_that_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let name = golden("additive_basic");
    let file = |suffix: &str| format!("{name}{suffix}");
    let (weights, input) = (file(".safetensors"), file(".input.npy"));
    let (logits, labels) = (file(".logits.npy"), file(".labels.npy"));
    let (grads, losses) = (file(".grads.safetensors"), file(".losses1.npy"));
    let missing = path(directory.path(), "missing");
    let folder = directory.path().display().to_string();
    let extended = |source: &str| {
        let mut checkpoint = Checkpoint::load(Path::new(source)).unwrap();
        let tensor = StoredTensor::f32(vec![2], vec![0.0; 2]);
        checkpoint.tensors.insert("ema.fc.bias".to_owned(), tensor);
        let name = path(directory.path(), "extended.safetensors");
        checkpoint.save(Path::new(&name)).unwrap();
        name
    };
    let check = |weights: &str, flags: &[&str], code: i32, words: &[&str]| {
        let device = ["verify", weights, "--device", "no such adapter"];
        fails(&[&device[..], flags].concat(), code, words);
    };
    let given = ["--input", &*input, "--labels", &labels];
    for (flags, code, words) in [
        (["--logits", &missing], 4, ["missing", "check the path"]),
        (["--logits", &folder], 4, ["is a directory", "name a file"]),
        (
            ["--logits", &grads],
            4,
            ["a safetensors file", "numpy.save"],
        ),
        (["--logits", &losses], 4, ["losses1.npy", "float32 [4, 10]"]),
        (
            ["--logits", &labels],
            4,
            ["is int64 [4]", "float32 [4, 10]"],
        ),
        (["--grads", &missing], 5, ["missing", "check the path"]),
        (
            ["--grads", &weights],
            5,
            ["not among those to compare", "bn1.num_batches_tracked"],
        ),
        (["--grads", &logits], 5, ["a NumPy array", ".safetensors"]),
        (
            ["--state", &grads],
            5,
            ["running_mean` is missing", "another network"],
        ),
    ] {
        let steps = if flags[0] == "--state" {
            "--steps=1"
        } else {
            "--tolerance=1"
        };
        let grads = ["--grads", &*grads];
        let grads = if flags[0] == "--logits" {
            &grads[..]
        } else {
            &[]
        };
        check(
            &weights,
            &[&given[..], &flags, &[steps], grads].concat(),
            code,
            &words,
        );
    }
    let compare = ["--input", &*input, "--logits", &logits];
    let extra = extended(&grads);
    let flags = [&given[..], &["--grads", &extra]].concat();
    check(&weights, &flags, 5, &["`ema.fc.bias` [2]"]);
    let extra = extended(&weights);
    for flags in [&[][..], &["--image-size", "32"]] {
        check(
            &extra,
            &[&compare[..], flags].concat(),
            5,
            &["`ema.fc.bias` [2]"],
        );
    }
    check(&missing, &compare, 5, &["missing"]);
    check(
        &weights,
        &["--input", &missing, "--logits", &logits],
        4,
        &["missing"],
    );
    check(
        &weights,
        &["--input", &labels, "--logits", &logits],
        4,
        &["labels.npy", "[N, 3, H, H]"],
    );
}
