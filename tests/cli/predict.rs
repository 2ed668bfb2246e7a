//! Images to classes, and how images are resized for it.

use std::fs;
use std::path::Path;

use image::{Rgb, RgbImage, imageops};

use pyr_wgpu::model::{
    Description, Network, NetworkSpec, Preprocessing, Stem, initial_values, numbered_classes,
};
use pyr_wgpu::trained_model::checkpoint;

use crate::{MODEL, example, fails, golden, json, path, run};

#[test]
fn good_images_are_classified_beside_bad_ones() {
    let directory = tempfile::tempdir().unwrap();
    let [star, heart] = ["star.png", "heart.png"].map(example);
    let missing = path(directory.path(), "missing.png");
    let text = path(directory.path(), "letter.txt");
    fs::write(&text, b"Dear network, ...").unwrap();
    let weights = golden("additive_basic.safetensors");
    let files = [&*missing, &star, &text, &heart];
    let predict = [
        &["predict", &weights][..],
        &files,
        &["--device", "cpu", "--json"],
    ]
    .concat();
    fails(&predict, 4, &["missing.png", "letter.txt", "2 of 4 images"]);
    let document: serde_json::Value = serde_json::from_slice(&run(&predict).stdout).unwrap();
    let names: Vec<&str> = document
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["image"].as_str().unwrap())
        .collect();
    assert_eq!(names, [&*star, &*heart]);
    // Without a good one, no device is needed.
    let nothing = ["predict", &weights, &missing, "--device", "no such adapter"];
    fails(&nothing, 4, &["missing.png"]);
}

/// A folder or list without an image is named as an image that cannot be read, and so is a folder
/// that cannot be listed.
#[test]
fn good_images_are_classified_beside_bad_folders() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| path(directory.path(), name);
    let star = place("deep/star.png");
    for folder in ["empty", "deep"] {
        fs::create_dir(place(folder)).unwrap();
    }
    fs::copy(example("star.png"), &star).unwrap();
    let beside = |input: &str, words: &[&str]| {
        let predict = ["predict", MODEL, &star, input, "--device", "cpu", "--json"];
        fails(&predict, 4, words);
        let document: serde_json::Value = serde_json::from_slice(&run(&predict).stdout).unwrap();
        let answers = document.as_array().unwrap();
        assert!(!answers.is_empty(), "{input}");
        assert!(answers.iter().all(|answer| answer["image"] == *star));
    };
    beside(&place("empty"), &["has no image", "1 of 2 inputs"]);
    // Nothing is on stdin.
    let stdin = ["stdin names no image", "on each line"];
    beside("-", &[&stdin[..], &["1 of 2 inputs"]].concat());
    for flags in [&[][..], &["--json"]] {
        fails(&[&["predict", MODEL, "-"][..], flags].concat(), 4, &stdin);
    }
    // A path too long for the system: not even an administrator may list it.
    #[cfg(target_os = "linux")]
    {
        let name = "long".repeat(50);
        let mut folder = directory.path().join("deep");
        while folder.as_os_str().len() < 3895 {
            folder.push(&name);
        }
        fs::create_dir_all(&folder).unwrap();
        let mut mkdir = std::process::Command::new("mkdir");
        let made = mkdir.arg(&name).current_dir(&folder).status().unwrap();
        assert!(made.success());
        let words = [
            "longlong",
            "cannot be read",
            "check the path",
            "1 of 3 inputs",
        ];
        beside(&place("deep"), &words);
    }
}

#[test]
fn a_text_file_is_no_image() {
    let directory = tempfile::tempdir().unwrap();
    let text = path(directory.path(), "letter.txt");
    fs::write(&text, b"Dear network, ...").unwrap();
    let weights = golden("additive_basic.safetensors");
    fails(
        &["predict", &weights, &text, "--device", "cpu"],
        4,
        &["letter.txt"],
    );
}

#[test]
fn predict_gives_probabilities() {
    let weights = golden("additive_basic.safetensors");
    let image = format!("{}/examples/star.png", env!("CARGO_MANIFEST_DIR"));
    let document = json(&[
        "predict", &weights, &image, "--device", "cpu", "--top", "10", "--json",
    ]);
    let predictions = document[0]["predictions"].as_array().unwrap();
    let sum: f64 = predictions
        .iter()
        .map(|p| p["probability"].as_f64().unwrap())
        .sum();
    assert_eq!(predictions.len(), 10);
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    // Measuring kernels would take longer than the prediction.
    for (command, default) in [("predict", "cached"), ("eval", "on"), ("train", "on")] {
        let help = run(&[command, "--help"]);
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let tune = help.split("--tune").nth(1).unwrap();
        assert!(tune.contains(&format!("[default: {default}]")), "{tune}");
    }
}

/// The shipped model, written to a directory with another shorter side before the crop.
fn with_shorter_side(directory: &Path, side: u32) -> String {
    let mut bytes = fs::read(MODEL).unwrap();
    // The description is JSON inside a JSON string.
    let [old, new] = [32, side].map(|side| format!("shorter_side\\\":{side}"));
    let start = bytes.windows(old.len()).position(|w| w == old.as_bytes());
    let start = start.expect("the model describes itself");
    bytes[start..start + old.len()].copy_from_slice(new.as_bytes());
    let name = path(directory, "model.safetensors");
    fs::write(&name, bytes).unwrap();
    name
}

/// Two datasets of one image a class: images of 40x40, and their centres of 32x32.
fn wide_and_centre(directory: &Path) -> [String; 2] {
    let classes = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ];
    for (number, class) in (0u32..).zip(classes) {
        let wide = RgbImage::from_fn(40, 40, |x, y| {
            Rgb([x * 6, y * (6 - number % 5), (x + 2) * (y + number)].map(|byte| byte as u8))
        });
        let centre = imageops::crop_imm(&wide, 4, 4, 32, 32).to_image();
        for (part, image) in [("wide", wide), ("centre", centre)] {
            let folder = directory.join(part).join("test").join(class);
            fs::create_dir_all(&folder).unwrap();
            image.save(folder.join("image.png")).unwrap();
        }
    }
    ["wide", "centre"].map(|part| path(directory, part))
}

/// A checkpoint's preprocessing decides how images are resized, not the network's stem.
#[test]
fn eval_and_predict_obey_the_checkpoint_s_preprocessing() {
    let directory = tempfile::tempdir().unwrap();
    let [wide, centre] = wide_and_centre(directory.path());
    let obeying = with_shorter_side(directory.path(), 40);

    let eval = |model: &str, data: &str| {
        let dataset = ["--dataset", "folder", "--data", data, "--device", "cpu"];
        json(&[&["eval", model, "--json", "--quiet"], &dataset[..]].concat())
    };
    let expected = eval(MODEL, &centre);
    assert_eq!(eval(&obeying, &wide), expected);
    assert_eq!(
        eval(&obeying, &centre),
        expected,
        "images of the network's size are not resized"
    );
    assert_ne!(eval(MODEL, &wide)["loss"], expected["loss"]);

    let predict = |model: &str, data: &str| {
        let image = format!("{data}/test/ship/image.png");
        let document = json(&["predict", model, &image, "--device", "cpu", "--json"]);
        document[0]["predictions"].clone()
    };
    let expected = predict(MODEL, &centre);
    assert_eq!(predict(&obeying, &wide), expected);
    assert_ne!(predict(MODEL, &wide), expected);
}

/// The scores of views are averaged: an image and its mirror image get the same classes with
/// `--flip` and with `--ten-crop`, though not without.
#[test]
fn views_are_averaged() {
    let directory = tempfile::tempdir().unwrap();
    let [name, mirrored] = ["image.png", "mirrored.png"].map(|name| path(directory.path(), name));
    let probabilities = |model: &str, image: &str, flags: &[&str]| -> Vec<f64> {
        let predict = ["predict", model, image, "--device", "cpu", "--json"];
        let document = json(&[&predict[..], &["--top", "1000"], flags].concat());
        let rows = document[0]["predictions"].as_array().unwrap().iter();
        let mut rows: Vec<(u64, f64)> = rows
            .map(|row| {
                let (index, p) = (&row["index"], &row["probability"]);
                (index.as_u64().unwrap(), p.as_f64().unwrap())
            })
            .collect();
        rows.sort_by_key(|row| row.0);
        rows.into_iter().map(|row| row.1).collect()
    };
    let imagenet = path(directory.path(), "imagenet.safetensors");
    let spec = NetworkSpec {
        image_size: 56,
        classes: 10,
        ..NetworkSpec::pyramid(Stem::ImageNet, 18, 8.0)
    };
    let network = Network::new(&spec).unwrap();
    let description = Description {
        classes: numbered_classes(10),
        preprocessing: Preprocessing::new(&spec, [120.0; 3], [60.0; 3]),
        network: spec,
    };
    let weights = initial_values(&network, 0).into_iter().collect();
    let random = checkpoint(&network, &description, &weights, 0);
    random.save(Path::new(&imagenet)).unwrap();
    // Extents at which pixels are not resampled; an odd number of columns is cropped.
    let cases = [
        (MODEL, "--flip", (32, 32)),
        (&*imagenet, "--ten-crop", (71, 64)),
    ];
    for (model, flag, (width, height)) in cases {
        let image = RgbImage::from_fn(width, height, |x, y| {
            Rgb([(3 * x) as u8, (x * y / 20) as u8, (4 * y) as u8])
        });
        image.save(&name).unwrap();
        imageops::flip_horizontal(&image).save(&mirrored).unwrap();
        let largest = |flags: &[&str]| {
            let [a, b] = [&name, &mirrored].map(|image| probabilities(model, image, flags));
            let distances = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
            distances.fold(0.0, f64::max)
        };
        let (one, several) = (largest(&[]), largest(&[flag]));
        // The mean is summed in another order.
        assert!(several < 1e-5 && one > 1e-4, "{flag}: {one} {several}");
    }
    let refused = ["predict", MODEL, &name, "--ten-crop"];
    fails(&refused, 2, &["32x32", "--flip"]);
    fails(
        &[&refused[..], &["--flip"]].concat(),
        2,
        &["--flip", "--ten-crop"],
    );
}
