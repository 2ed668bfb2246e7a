//! Runs from their start to their evaluation.

use std::fs;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use image::RgbImage;

use crate::{command, fails, json, path, run};

/// A folder as a file manager leaves it, with a class whose name would control the terminal: what
/// is not used is noted and is no damage, and the name is escaped.
#[cfg(unix)]
#[test]
fn a_folder_with_other_files_and_an_odd_class_name_trains() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let odd = "b\n\u{1b}[31m";
    for (part, class) in [
        ("Train", "a"),
        ("Train", odd),
        ("valid", "a"),
        ("valid", odd),
    ] {
        let folder = data.join(part).join(class);
        fs::create_dir_all(&folder).unwrap();
        RgbImage::new(8, 8).save(folder.join("0.png")).unwrap();
        fs::write(folder.join("Thumbs.db"), b"\xd0\xcf\x11\xe0").unwrap();
    }
    std::os::unix::fs::symlink("gone", data.join("Train/c")).unwrap();
    let (data, run_dir) = (data.display().to_string(), path(directory.path(), "run"));
    let dataset = ["--dataset", "folder", "--data", &data, "--device", "cpu"];
    let train = [
        "train",
        "--depth",
        "8",
        "--alpha",
        "3",
        "--image-size",
        "8",
        "--epochs",
        "1",
        "--run-dir",
        &run_dir,
    ];
    let output = run(&[&train[..], &dataset].concat());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    for note in [
        r"Train/a/Thumbs.db, Train/b\n\u{1b}[31m/Thumbs.db, valid/a/Thumbs.db and 1 more (not an",
        "Train/c (a link that cannot be followed: ",
    ] {
        assert!(stderr.contains(note), "{note} is not in {stderr}");
    }
    let classes = fs::read_to_string(Path::new(&run_dir).join("classes.txt")).unwrap();
    assert_eq!(classes, "a\nb\\n\\u{1b}[31m\n");
    let eval = run(&[&["eval", &run_dir], &dataset[..]].concat());
    let image = format!("{data}/valid/a/0.png");
    let predict = run(&["predict", &run_dir, &image, "--device", "cpu"]);
    for output in [eval, predict] {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(r"b\n\u{1b}[31m"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
    let json = json(&[&["eval", &run_dir, "--json"], &dataset[..]].concat());
    assert_eq!(json["classes"][1]["class"], odd);
}

/// Its files would become images of the dataset, or a class.
#[cfg(unix)]
#[test]
fn a_run_inside_the_folders_of_its_images_is_refused() {
    use std::os::unix::fs::symlink;

    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for folder in ["data/train/a", "elsewhere/b", "data/test/a", "data/test/b"] {
        fs::create_dir_all(root.join(folder)).unwrap();
        let image = root.join(folder).join("0.png");
        RgbImage::new(8, 8).save(image).unwrap();
    }
    symlink("../../elsewhere/b", root.join("data/train/b")).unwrap();
    symlink("data/test", root.join("link")).unwrap();
    let train = "train --depth 8 --alpha 3 --image-size 8 --epochs 1 --device cpu --dataset folder \
                 --data";
    let train: Vec<&str> = train.split_whitespace().collect();
    let check = |inside: &str, data: &str, run_dir: &[&str], folder: &str| {
        let output = command(&[&train[..], &[data], run_dir].concat())
            .current_dir(root.join(inside))
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{run_dir:?}: {stderr}");
        let inside = format!("{folder}, where the run's files");
        for word in [&inside, "--run-dir"] {
            assert!(stderr.contains(word), "{run_dir:?} lacks {word}: {stderr}");
        }
    };
    for (run_dir, folder) in [
        ("data/train/a/run", "data/train/a"),
        ("data/train/run", "data/train"),
        ("data/train", "data/train"),
        ("elsewhere/b/new/run", "data/train/b"),
        ("link/b/run", "data/test/b"),
        ("new/../link/run", "data/test"),
    ] {
        check("", "data", &["--run-dir", run_dir], folder);
    }
    check("data/test/b", "../..", &[], "data/test/b");
    for created in ["data/train/run", "elsewhere/b/new", "link/run", "new"] {
        assert!(!root.join(created).exists(), "{created}");
    }
    assert_eq!(fs::read_dir(root.join("data/test/b")).unwrap().count(), 1);
    // Beside the parts, a run is no part of the dataset.
    let output = command(&[&train[..], &[".", "--quiet"]].concat())
        .current_dir(root.join("data"))
        .output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}

/// A run on a tiny folder of two classes, which finishes and is extended by an epoch.
#[test]
fn a_run_trains_saves_and_continues() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    for part in ["train", "test"] {
        for (class, image) in [("heart", "heart.png"), ("star", "star.png")] {
            let folder = data.join(part).join(class);
            fs::create_dir_all(&folder).unwrap();
            let source = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
                .join("examples")
                .join(image);
            for copy in 0..3 {
                fs::copy(&source, folder.join(format!("{copy}.png"))).unwrap();
            }
        }
    }
    let (data, run_dir) = (data.display().to_string(), path(directory.path(), "run"));
    let network = [
        "--depth",
        "8",
        "--alpha",
        "3",
        "--image-size",
        "8",
        "--device",
        "cpu",
    ];
    let recipe = [
        "--dataset",
        "folder",
        "--data",
        &data,
        "--epochs",
        "2",
        "--batch-size",
        "4",
    ];
    let train = [
        &["train"],
        &network[..],
        &recipe[..],
        &["--run-dir", &run_dir],
    ]
    .concat();
    let output = run(&train);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for file in [
        "config.toml",
        "environment.json",
        "choices.json",
        "classes.txt",
        "metrics.csv",
        "events.jsonl",
        "last.safetensors",
        "best.safetensors",
        "state.safetensors",
    ] {
        assert!(Path::new(&run_dir).join(file).is_file(), "{file}");
    }
    let metrics = fs::read_to_string(Path::new(&run_dir).join("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 3, "{metrics}");
    fails(&train, 2, &["not empty", "--resume"]);
    fails(
        &[
            "train", "--resume", &run_dir, "--epochs", "3", "--retry", "2",
        ],
        2,
        &["--device cpu", "leave out --retry"],
    );
    fails(
        &["train", "--resume", &run_dir, "--device", "cpu"],
        2,
        &["--epochs"],
    );
    fails(
        &[
            "train", "--resume", &run_dir, "--epochs", "3", "--lr", "0.3", "--device", "cpu",
        ],
        2,
        &["--lr", "--allow"],
    );
    let output = run(&[
        "train", "--resume", &run_dir, "--epochs", "3", "--device", "cpu",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metrics = fs::read_to_string(Path::new(&run_dir).join("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 4, "{metrics}");
    let eval = json(&[
        "eval",
        &run_dir,
        "--dataset",
        "folder",
        "--data",
        &data,
        "--device",
        "cpu",
        "--json",
    ]);
    assert_eq!(eval["images"], 6);
    assert!(eval["top5_error"].is_null() && eval["top1_error"].is_number());
    let other = path(directory.path(), "other");
    fs::create_dir(&other).unwrap();
    fails(&["train", "--resume", &other], 5, &["config.toml"]);
}
