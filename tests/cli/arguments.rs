//! Arguments: the network and recipe that they give, and errors that name the wrong one.

use std::fs;

use crate::{MODEL, changed, example, fails, json, path, run};

#[test]
fn summary_counts_as_the_paper_does() {
    let summary = json(&["summary", "--preset", "pyramidnet110-a48", "--json"]);
    assert_eq!(summary["parameters"], 1_772_706);
    assert_eq!(summary["macs"], 403_813_504);
    assert_eq!(summary["convs"], 109);
    assert_eq!(summary["feature_dim"], 64);
    assert_eq!(summary["widths"].as_array().unwrap().len(), 54);
    assert!(summary["memory"]["total"].as_u64().unwrap() > 100_000_000);
}

#[test]
fn flags_override_a_preset() {
    let arguments = [
        "summary",
        "--preset",
        "pyramidnet110-a84",
        "--classes",
        "100",
        "--json",
    ];
    assert_eq!(json(&arguments)["parameters"], 3_913_536);
    let text = run(&["summary", "--depth", "20", "--alpha", "24"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(
        text.contains("parameters") && text.contains("layer3.2"),
        "{text}"
    );
}

#[test]
fn wrong_arguments_are_named() {
    fails(
        &["summary", "--depth", "21", "--alpha", "24"],
        2,
        &["21", "20"],
    );
    fails(
        &["summary", "--depth", "20", "--alpha", "-3"],
        2,
        &["alpha"],
    );
    fails(&["summary", "--depth", "20", "--alpha", "0"], 2, &["alpha"]);
    fails(
        &["summary", "--depth", "20", "--alpha", "NaN"],
        2,
        &["alpha"],
    );
    fails(
        &["summary", "--depth", "20", "--alpha", "1e30"],
        2,
        &["alpha"],
    );
    fails(&["summary", "--depth", "20"], 2, &["--alpha"]);
    fails(
        &["summary", "--preset", "pyramidnet110-a47"],
        2,
        &["pyramidnet110-a48"],
    );
    fails(&["summary", "--batch-size", "0"], 2, &["batch"]);
    fails(&["train", "--batch-size", "0"], 2, &["batch"]);
    fails(&["train", "--epochs", "0"], 2, &["--epochs"]);
    fails(&["train", "--lr", "-1"], 2, &["--lr"]);
    fails(
        &["train", "--micro-batch", "64", "--batch-size", "32"],
        2,
        &["--micro-batch"],
    );
    fails(&["train", "--checkpoint-every", "soon"], 2, &["10m"]);
    fails(&["train", "--dataset", "mnist"], 2, &["cifar10"]);
    fails(&["transform", "a", "b"], 2, &["transform"]);
    fails(
        &["verify", "w.safetensors", "--input", "x.npy"],
        2,
        &["--logits"],
    );
    // What would be compared with nothing.
    let verify = "verify w.safetensors --input x.npy --logits y.npy --labels l.npy";
    let verify: Vec<&str> = verify.split(' ').collect();
    fails(&verify, 2, &["--labels", "--grads"]);
    fails(
        &[&verify[..], &["--steps", "5"]].concat(),
        2,
        &["--steps", "--state"],
    );
}

/// Help and errors name every dataset, with the defaults of its manifest.
#[test]
fn datasets_are_listed_from_their_table() {
    let output = run(&["train", "--help"]);
    let help = String::from_utf8_lossy(&output.stdout);
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "shapes, cifar10, cifar100, imagenet or folder [default: shapes]",
        "[default: shapes 5, imagenet 120, others 300]",
        "[default: shapes 32, others 128]",
        "[default: shapes 0.05, cifar100 0.5, imagenet 0.05, others 0.1]",
        "[default: shapes 4,5, imagenet 60,90,105, others 150,225]",
    ] {
        assert!(help.contains(words), "{words} is not in {help}");
    }
    let known = "there are shapes, cifar10, cifar100, imagenet and folder";
    fails(&["train", "--dataset", "mnist"], 2, &["`mnist`", known]);
}

#[test]
fn the_memory_of_any_batch_size_is_computed_or_refused() {
    let batch = u64::MAX.to_string();
    fails(&["summary", "--batch-size", &batch], 2, &["at most"]);
    let summary = json(&["summary", "--batch-size", "4000000", "--json"]);
    assert!(summary["memory"]["total"].as_u64().unwrap() > 1 << 41);
}

/// A flag has its effect or is an error.
#[test]
fn no_flag_is_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().display().to_string();
    fails(&["train", "--data", &data], 2, &["--dataset folder"]);
    for command in [&["train"][..], &["eval", MODEL]] {
        let flags = ["--dataset", "shapes", "--data", &data];
        fails(
            &[command, &flags].concat(),
            2,
            &["shapes", "leave out --data"],
        );
    }
    let classes = ["train", "--classes", "5", "--epochs", "1"];
    fails(&classes, 2, &["--classes is 5", "10 classes"]);
    for device in ["cpu", "CPU", "reference"] {
        let bench = ["bench", "--device", device];
        fails(
            &[&bench[..], &["--backend", "gl"]].concat(),
            2,
            &["--backend gl"],
        );
        for flag in ["--checked", "--matrix-units"] {
            fails(&[&bench[..], &[flag]].concat(), 2, &[flag]);
        }
    }
    fails(&["bench", "--device", ""], 2, &["--device", "cpu"]);
    for flags in [&["--device", "cpu"][..], &["--scaling"], &[]] {
        let bench = ["bench", "--workers", "3"];
        fails(&[&bench[..], flags].concat(), 2, &["--workers", "--data"]);
    }
    for flag in ["--matrix-units", "--checked"] {
        fails(&["bench", "--data", "x", flag], 2, &[flag, "--data"]);
    }
    fails(&["train", "--allow", "lr"], 2, &["--resume"]);
    let star = example("star.png");
    let eval = ["eval", MODEL, "--dataset", "shapes"];
    let predict = ["predict", MODEL, &star];
    let infer = ["bench", "--mode", "infer"];
    // The processor has no choice of kernels, and is never lost.
    for (command, flag) in [
        (&eval[..], ["--tune", "off"]),
        (&predict, ["--tune", "on"]),
        (&["bench"], ["--tune", "cached"]),
        (&["train"], ["--tune", "on"]),
        (&["train"], ["--choices", "runs/x"]),
        (&["train"], ["--retry", "3"]),
    ] {
        let arguments = [command, &["--device", "cpu"], &flag].concat();
        fails(&arguments, 2, &["--device cpu", "leave out", flag[0]]);
    }
    fails(
        &["train", "--resume", "runs/x", "--tune", "off"],
        2,
        &["--tune"],
    );
    // Inference drops nothing and has no backward pass.
    let [onnx, safetensors] = ["o.onnx", "o.safetensors"].map(|name| path(directory.path(), name));
    let [to_onnx, to_safetensors] = [&onnx, &safetensors].map(|out| ["convert", MODEL, out]);
    for command in [&eval[..], &predict, &infer, &to_onnx, &to_safetensors] {
        for [flag, value] in [["--dropout", "0.5"], ["--stochastic-depth", "0.3"]] {
            let given = format!("{flag} {value}");
            fails(&[command, &[flag, value]].concat(), 2, &[&given]);
        }
    }
    fails(
        &[&infer[..], &["--recompute"]].concat(),
        2,
        &["--recompute"],
    );
    // A flag that says what the checkpoint says changes nothing.
    let same = run(&[&predict[..], &["--dropout", "0", "--device", "cpu"]].concat());
    assert_eq!(same.status.code(), Some(0));
    for command in [&eval[..], &predict] {
        let rounding = [command, &["--rounding", "half-even"]].concat();
        fails(&rounding, 2, &["--rounding", "the same network"]);
    }
    let verify = "verify w.safetensors --input x.npy --logits y.npy";
    let verify: Vec<&str> = verify.split(' ').collect();
    for flag in ["--lr", "--momentum", "--weight-decay"] {
        fails(&[&verify[..], &[flag, "0.5"]].concat(), 2, &["--steps"]);
    }
    fails(
        &[&verify[..], &["--dropout", "0"]].concat(),
        2,
        &["--dropout 0"],
    );
    let run = path(directory.path(), "run");
    fs::create_dir(&run).unwrap();
    for (name, known) in [("foo", "lr, momentum"), ("dataset", "cannot change")] {
        let flags = ["train", "--resume", &run, "--allow", name];
        fails(&flags, 2, &["--allow", name, known]);
    }
    let both = ["train", "--resume", &run, "--choices", &run];
    fails(&both, 2, &["--choices"]);
}

/// A batch of one image has no variance on maps of one pixel.
#[test]
fn the_last_batch_is_named() {
    let flags = "train --depth 8 --alpha 3 --image-size 4 --device cpu --batch-size 421";
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let words = [
        "layer3",
        "8000 training images",
        "batch of 1",
        "--batch-size",
    ];
    fails(&flags, 2, &words);
}

/// Flags have an effect on a checkpoint without a description, too.
#[test]
fn no_flag_is_ignored_without_a_description() {
    let directory = tempfile::tempdir().unwrap();
    let bare = changed(directory.path(), |checkpoint| checkpoint.metadata.clear());
    let star = example("star.png");
    let predict = ["predict", &bare, &star, "--device", "cpu"];
    for (flags, words) in [
        (
            ["--rounding", "half-even"],
            ["--rounding", "the same network"],
        ),
        (["--dropout", "0.5"], ["--dropout 0.5", "training only"]),
    ] {
        fails(&[&predict[..], &flags].concat(), 2, &words);
    }
    let size = run(&[&predict[..], &["--image-size", "16"]].concat());
    assert_eq!(size.status.code(), Some(0));
}
