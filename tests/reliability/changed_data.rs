//! Data that has changed since its run was killed.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::fs;

use image::{Rgb, RgbImage};

use crate::faults::killed_at;
use crate::{Place, expect};

/// Kills a run in the middle of its first epoch; returns the step of its state.
pub(crate) fn stopped_midway(place: &Place, run: &str) -> u64 {
    // After the files of the beginning and some of the saves.
    killed_at(place, run, 70);
    let state = place.state(run);
    let progress: serde_json::Value =
        serde_json::from_str(&state.metadata["pyr_wgpu_progress"]).unwrap();
    let position = &progress["position"];
    let step = position["step"].as_u64().unwrap();
    assert!(position["epoch"] == 1 && step > 0, "{progress}");
    step
}

/// The numbers in a state mean nothing with other classes or images.
#[test]
fn resuming_compares_the_data() {
    let place = Place::new();
    stopped_midway(&place, "run");
    let resume = |more: &[&str]| place.run(&[&["train", "--resume", "run"], more].concat());
    let rename = |from: &str, to: &str| {
        for part in ["train", "test"] {
            let folder = place.path("data").join(part);
            fs::rename(folder.join(from), folder.join(to)).unwrap();
        }
    };
    rename("c0", "z0");
    for allow in [&[][..], &["--allow", "data"]] {
        expect(
            &resume(allow),
            5,
            &["class 0 is `c0`", "`c1` in the dataset"],
        );
    }
    rename("z0", "c0");

    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    let image = place.path("data/train/c0/00.png");
    let bytes = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    expect(
        &resume(&[]),
        4,
        &["71 training images instead of 72", "--allow data"],
    );
    // Another picture in its place.
    RgbImage::from_pixel(8, 8, Rgb([255; 3]))
        .save(&image)
        .unwrap();
    expect(
        &resume(&[]),
        4,
        &["training images have other pixels", "--allow data"],
    );
    fs::write(&image, &bytes).unwrap();
    // The same names, counts and mean, but two classes are exchanged.
    for (from, to) in [("c0", "t"), ("c1", "c0"), ("t", "c1")] {
        rename(from, to);
    }
    expect(
        &resume(&[]),
        4,
        &[
            "training images have other pixels, labels or another order",
            "test images have",
        ],
    );
    for (from, to) in [("c0", "t"), ("c1", "c0"), ("t", "c1")] {
        rename(from, to);
    }
    let test = place.path("data/test/c1/03.png");
    let tested = fs::read(&test).unwrap();
    fs::remove_file(&test).unwrap();
    expect(&resume(&[]), 4, &["17 test images instead of 18"]);
    fs::write(&test, tested).unwrap();

    // A run resumes from any directory; a moved dataset is found by its new name.
    fs::rename(place.path("data"), place.path("moved")).unwrap();
    expect(&resume(&[]), 4, &["data", "--data DIR --allow data"]);
    expect(&resume(&["--data", "moved"]), 2, &["--data", "--allow"]);
    let after = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert_eq!(after, config, "a refused change is not recorded");
    fs::create_dir(place.path("elsewhere")).unwrap();
    let mut elsewhere = place.command(&["train", "--resume", "../run"]);
    fs::rename(place.path("moved"), place.path("data")).unwrap();
    let output = elsewhere.current_dir(place.path("elsewhere")).output();
    expect(&output.unwrap(), 0, &["finished"]);
}

/// A step is a number of images of an order; if the order changes, the epoch starts again.
#[test]
fn another_order_restarts_the_epoch() {
    let changes: [(&[&str], &str); 3] = [
        (
            &["--allow", "batch-size", "--batch-size", "20"],
            "batch-size",
        ),
        (&["--allow", "seed", "--seed", "9"], "seed"),
        (&["--allow", "data"], "data"),
    ];
    for (flags, what) in changes {
        let place = Place::new();
        stopped_midway(&place, "run");
        if what == "data" {
            for number in 0..20 {
                let image = format!("data/train/c1/{number:02}.png");
                fs::remove_file(place.path(&image)).unwrap();
            }
        }
        let output = place.run(&[&["train", "--resume", "run"], flags].concat());
        expect(
            &output,
            0,
            &["epoch 1 starts from its first step", "finished"],
        );
    }
    // Without a change it continues where it was.
    let place = Place::new();
    let step = stopped_midway(&place, "run");
    let output = place.run(&["train", "--resume", "run"]);
    expect(&output, 0, &[&format!("epoch 1, step {step}"), "finished"]);
}
