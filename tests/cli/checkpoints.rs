//! Checkpoints that are no checkpoints, or whose weights cannot be computed with.

use std::fs;
use std::path::Path;

use pyr_wgpu::checkpoint::StoredTensor;

use crate::{MODEL, changed, example, fails, golden, json, path, run};

#[test]
fn bad_checkpoints_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let image = path(directory.path(), "image.png");
    fs::write(&image, b"not an image").unwrap();
    let missing = path(directory.path(), "none.safetensors");
    fails(&["predict", &missing, &image], 5, &["none.safetensors"]);
    let weights = fs::read(golden("additive_basic.safetensors")).unwrap();
    // What is no checkpoint is named, with the next step.
    let other = path(directory.path(), "other");
    let empty = path(directory.path(), "run");
    fs::create_dir(&empty).unwrap();
    fails(
        &["predict", &empty, &image],
        5,
        &["no config.toml", "runs/demo-shapes-1"],
    );
    fs::write(Path::new(&empty).join("config.toml"), "").unwrap();
    fails(
        &["predict", &empty, &image],
        5,
        &["no best.safetensors", "last.safetensors"],
    );
    fails(
        &["train", "--resume", &image],
        5,
        &["it is a file", "runs/demo-shapes-1"],
    );
    for (bytes, words) in [
        (&b""[..], ["the file is empty", "download it again"]),
        (b"PK\x03\x04", ["a zip archive", "unpack it"]),
        (b"\x80\x04\x95", ["PyTorch checkpoint", "torch.save"]),
        (b"\x89HDF\r\n\x1a\n", ["an HDF5 file", "save_file"]),
        (
            b"404: Not Found",
            ["this is text", "the server may have sent"],
        ),
    ] {
        fs::write(&other, bytes).unwrap();
        fails(&["predict", &other, &image], 5, &words);
    }
    let cut = path(directory.path(), "cut.safetensors");
    fs::write(&cut, &weights[..weights.len() / 2]).unwrap();
    fails(&["predict", &cut, &image], 5, &["cut.safetensors"]);
    let text = path(directory.path(), "text.safetensors");
    fs::write(&text, b"hello, I am no checkpoint at all").unwrap();
    fails(&["predict", &text, &image], 5, &["text.safetensors"]);
    fails(
        &[
            "predict",
            &golden("additive_basic.safetensors"),
            &image,
            "--depth",
            "8",
            "--alpha",
            "20",
        ],
        5,
        &["layer1.0.conv1.weight", "[23, 16, 3, 3]", "[19, 16, 3, 3]"],
    );
    // Replace the last value of the data by NaN.
    let mut poisoned = weights;
    let end = poisoned.len();
    poisoned[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let nan = path(directory.path(), "nan.safetensors");
    fs::write(&nan, poisoned).unwrap();
    let output = run(&["predict", &nan, &image]);
    assert_eq!(output.status.code(), Some(5));
}

#[test]
fn tensors_that_cannot_be_computed_with_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let star = example("star.png");
    let with = |name: &str, tensor: StoredTensor| {
        changed(directory.path(), |checkpoint| {
            checkpoint.tensors.insert(name.to_owned(), tensor);
        })
    };
    let integers = StoredTensor::i64(vec![10], vec![1; 10]);
    let mut variances = vec![1.0; 16];
    variances[2] = -0.5;
    let variances = StoredTensor::f32(vec![16], variances);
    for (name, tensor, words) in [
        ("fc.bias", integers, ["`fc.bias`", "I64"]),
        (
            "bn1.running_var",
            variances,
            ["`bn1.running_var`", "-0.5 at index 2"],
        ),
    ] {
        let weights = with(name, tensor);
        fails(&["predict", &weights, &star, "--device", "cpu"], 5, &words);
        let eval = ["eval", &weights, "--dataset", "shapes", "--device", "cpu"];
        fails(&eval, 5, &words);
        let [input, logits] =
            ["input", "logits"].map(|part| golden(&format!("additive_basic.{part}.npy")));
        let verify = ["verify", &weights, "--input", &input, "--logits", &logits];
        fails(&verify, 5, &words);
    }
}

/// Weights that are finite, but give NaN.
#[test]
fn scores_that_are_not_finite_are_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    let weights = changed(directory.path(), |checkpoint| {
        let name = "layer3.0.conv2.weight";
        let tensor = checkpoint.tensors.remove(name).unwrap();
        let (shape, values) = tensor.into_parts();
        let tensor = StoredTensor::f32(shape, vec![3e38; values.len()]);
        checkpoint.tensors.insert(name.to_owned(), tensor);
    });
    let star = example("star.png");
    for (flags, answer) in [(&[][..], ""), (&["--json"], "[]\n")] {
        let predict = ["predict", &weights, &star, "--device", "cpu"];
        let predict = [&predict[..], flags].concat();
        fails(&predict, 6, &["star.png", "the score of class"]);
        assert_eq!(String::from_utf8(run(&predict).stdout).unwrap(), answer);
    }
    let [input, logits] =
        ["input", "logits"].map(|part| golden(&format!("additive_basic.{part}.npy")));
    let verify = ["verify", &weights, "--input", &input, "--logits", &logits];
    fails(
        &[&verify[..], &["--device", "cpu"]].concat(),
        6,
        &["the logits"],
    );
}

/// Flags that describe a part of a network change that part of the checkpoint's own.
#[test]
fn flags_change_the_network_of_a_checkpoint() {
    let star = example("star.png");
    let answers = |flags: &[&str]| {
        let predict = ["predict", MODEL, &star, "--device", "cpu", "--json"];
        json(&[&predict[..], flags].concat())
    };
    let own = answers(&[]);
    assert_eq!(answers(&["--image-size", "32"]), own);
    assert_ne!(answers(&["--image-size", "16"]), own);
    let deeper = ["predict", MODEL, &star, "--depth", "14", "--device", "cpu"];
    fails(&deeper, 5, &["cifar10.safetensors"]);
}
