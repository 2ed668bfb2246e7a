//! Flags of transforms, erasing, mixing and label smoothing.

use std::fs;
use std::path::Path;

use crate::{fails, path, run};

const NETWORK: [&str; 7] = ["train", "--depth", "8", "--alpha", "3", "--image-size", "8"];

/// The options are printed and recorded; a resumed run keeps them.
#[test]
fn options_of_a_run_are_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let run_dir = path(directory.path(), "run");
    let recipe = ["--epochs", "1", "--batch-size", "512", "--no-augment"];
    let erasing = [
        "--auto-augment",
        "trivial",
        "--erase",
        "0.25",
        "--cutout",
        "4",
    ];
    let mixing = [
        "--mixup",
        "0.2",
        "--cutmix",
        "1",
        "--label-smoothing",
        "0.1",
    ];
    let files = ["--device", "cpu", "--run-dir", &run_dir];
    let output = run(&[&NETWORK[..], &recipe, &erasing, &mixing, &files].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let options = "transforms of TrivialAugment, random erasing 0.25, cutout 4, mixup 0.2, CutMix 1, \
                   label smoothing 0.1";
    assert!(stderr.contains(options), "{stderr}");
    let config = fs::read_to_string(Path::new(&run_dir).join("config.toml")).unwrap();
    let keys = "auto_augment = \"trivial\"\nerase = 0.25\ncutout = 4\nmixup = 0.2\ncutmix = 1.0\nlabel_smoothing = 0.1\n";
    assert!(config.contains(keys), "{config}");
    let card = run(&["card", &run_dir]);
    let card = String::from_utf8_lossy(&card.stdout);
    assert!(card.contains(options), "{card}");
    let resume = ["train", "--resume", &run_dir, "--device", "cpu"];
    for flags in [
        ["--mixup", "0.3"],
        ["--erase", "0"],
        ["--cutout", "5"],
        ["--auto-augment", "rand"],
    ] {
        fails(&[&resume[..], &flags].concat(), 2, &[flags[0], "--allow"]);
    }
}

#[test]
fn values_that_have_no_meaning_are_refused() {
    for (flags, words) in [
        (
            &["--label-smoothing", "1"][..],
            ["--label-smoothing", "0.1"],
        ),
        (&["--label-smoothing", "-0.1"], ["--label-smoothing", "0.1"]),
        (&["--label-smoothing", "nan"], ["--label-smoothing", "0.1"]),
        (&["--erase", "1.5"], ["--erase", "0.25"]),
        (&["--erase", "-1"], ["--erase", "0.25"]),
        (&["--cutout", "99"], ["--cutout", "such as 4"]),
        (&["--auto-augment", "ra"], ["--auto-augment", "trivial"]),
        (&["--cutout", "15"], ["--cutout", "from 1 to 14"]),
        (&["--mixup", "-0.2"], ["--mixup", "0.2"]),
        (&["--mixup", "inf"], ["--mixup", "0.2"]),
        (&["--cutmix", "-1"], ["--cutmix", "such as 1"]),
        (&["--cutmix", "nan"], ["--cutmix", "such as 1"]),
        (
            &["--mixup", "1", "--batch-size", "1"],
            ["--mixup", "--batch-size"],
        ),
        (
            &["--cutmix", "1", "--micro-batch", "1"],
            ["--cutmix", "--micro-batch"],
        ),
        (
            &[
                "--dataset",
                "folder",
                "--data",
                ".",
                "--augmentation",
                "imagenet",
                "--auto-augment",
                "rand",
            ],
            ["--auto-augment", "--augmentation crop"],
        ),
    ] {
        let device = ["--quiet", "--device", "cpu"];
        fails(&[&NETWORK[..], &device, flags].concat(), 2, &words);
    }
}
