//! `pyr-wgpu data`: what it finds in folders made here, and its figures and pictures against plain
//! computations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgb, RgbImage, imageops};
use pyr_wgpu::data::{DatasetKind, EpochKey, shapes};
use pyr_wgpu::rng::{Purpose, Stream, key, philox4x32};
use pyr_wgpu::train::{AutoAugment, Mixing, Recipe, erased};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs `data` with arguments, which must end with the exit code.
fn data(arguments: &[&str], code: i32) -> (Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyr-wgpu"));
    let Output {
        status,
        stdout,
        stderr,
    } = command.arg("data").args(arguments).output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(code), "{arguments:?}: {text}{stderr}");
    let document = serde_json::from_str(&text).unwrap_or_default();
    (document, format!("{text}{stderr}"))
}

/// Noise, another for each number.
fn noise(number: u32, width: u32, height: u32) -> RgbImage {
    let mut stream = Stream::new(1, Purpose::Shapes, number, 0);
    RgbImage::from_fn(width, height, |_, _| {
        Rgb([0; 3].map(|_: u8| stream.next_u32() as u8))
    })
}

/// A folder of two classes with one image of noise of 8 x 8 for each class and part.
struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(TempDir::new().unwrap());
        let places = ["train/cat", "train/dog", "test/cat", "test/dog"];
        for (place, number) in places.iter().zip(0..) {
            fs::create_dir_all(folder.path(place)).unwrap();
            folder.save(&format!("{place}/0.png"), &noise(number, 8, 8));
        }
        folder
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn name(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn save(&self, below: &str, image: &RgbImage) {
        image.save(self.path(below)).unwrap();
    }
}

/// Number of pictures and files, and the files of the examples.
fn found(finding: &Value) -> Value {
    let examples = finding["examples"].as_array().unwrap();
    let files: Vec<&Value> = examples.iter().map(|example| &example["files"]).collect();
    json!([finding["pictures"], finding["files"], files])
}

#[test]
fn a_sound_folder_has_no_finding() {
    let folder = Folder::new();
    let arguments = ["check", folder.name(), "--image-size", "8"];
    let (_, text) = data(&arguments, 0);
    assert!(
        text.contains("train: 2 readable images in 2 classes, 1 in each"),
        "{text}"
    );
    assert_eq!(text.matches(": none").count(), 12, "{text}");
}

#[test]
fn every_fault_of_a_folder_is_found() {
    let folder = Folder::new();
    fs::write(folder.path("train/cat/broken.jpg"), b"\xff\xd8\xff\xe0").unwrap();
    fs::write(folder.path("train/cat/Thumbs.db"), b"x").unwrap();
    // The same pixels twice in a part, and in the other part in another format.
    folder.save("train/cat/again.bmp", &noise(0, 8, 8));
    folder.save("test/cat/leaked.bmp", &noise(0, 8, 8));
    // Under two classes, of one part.
    folder.save("test/dog/cat.png", &noise(2, 8, 8));
    // The same bytes in other extents are another picture.
    let pixels = noise(1, 8, 8).into_raw();
    folder.save(
        "test/dog/wide.png",
        &RgbImage::from_raw(16, 4, pixels).unwrap(),
    );
    folder.save(
        "train/dog/white.png",
        &RgbImage::from_pixel(8, 8, Rgb([255; 3])),
    );
    folder.save("train/dog/long.png", &noise(9, 33, 8));
    folder.save("train/dog/small.png", &noise(10, 3, 3));

    let arguments = ["check", folder.name(), "--image-size", "8", "--json"];
    let (document, text) = data(&arguments, 4);
    assert!(text.contains("error: 1 of 7 image files"), "{text}");
    assert_eq!(document["classes"], json!(["cat", "dog"]));
    let [train, test] = ["train", "test"].map(|part| &document[part]);
    assert_eq!(
        (&train["folder"], &test["folder"]),
        (&json!("train"), &json!("test"))
    );
    assert_eq!(
        (&train["images"], &test["images"]),
        (&json!([2, 4]), &json!([2, 3]))
    );
    for (finding, expected) in [
        ("unreadable", json!([1, 1, [["train/cat/broken.jpg"]]])),
        ("aspect_ratio", json!([1, 1, [["train/dog/long.png"]]])),
        ("single_colour", json!([1, 1, [["train/dog/white.png"]]])),
        ("small", json!([1, 1, [["train/dog/small.png"]]])),
        (
            "duplicate",
            json!([1, 2, [["train/cat/0.png", "train/cat/again.bmp"]]]),
        ),
    ] {
        assert_eq!(found(&train["findings"][finding]), expected, "{finding}");
    }
    let unreadable = &train["findings"]["unreadable"]["examples"][0]["detail"];
    assert!(
        unreadable.as_str().unwrap().contains("damaged JPEG"),
        "{unreadable}"
    );
    assert!(train["error"].as_str().unwrap().contains("more than 1 %"));
    let of_test = test["findings"].as_object().unwrap();
    for (kind, finding) in of_test {
        let expected = match kind.as_str() {
            "aspect_ratio" => json!([1, 1, [["test/dog/wide.png"]]]),
            "duplicate" => json!([1, 2, [["test/cat/0.png", "test/dog/cat.png"]]]),
            _ => json!([0, 0, []]),
        };
        assert_eq!(found(finding), expected, "{kind}");
    }
    let both = &document["findings"];
    let leaked = json!([1, 3, [["train/cat/0.png", "test/cat/leaked.bmp"]]]);
    assert_eq!(found(&both["leaked"]), leaked);
    assert_eq!(both["leaked"]["examples"][0]["more"], 1);
    let several = json!([1, 2, [["test/cat/0.png", "test/dog/cat.png"]]]);
    assert_eq!(found(&both["several_classes"]), several);
    let unused = document["unused"][0].as_str().unwrap();
    assert!(
        unused.contains("train/cat/Thumbs.db (not an image"),
        "{unused}"
    );

    // Without the damaged file there are remarks only.
    fs::remove_file(folder.path("train/cat/broken.jpg")).unwrap();
    let (_, text) = data(&["check", folder.name(), "--names", "1"], 0);
    for part in [
        "train: 6 readable images in 2 classes, smallest `cat` with 2, largest `dog` with 4\n",
        "  pictures that occur more than once: 1 (2 files)\n    train/cat/0.png, train/cat/again.bmp\n",
        "  one side over three times the other: 1\n    train/dog/long.png: 33 x 8\n",
        "  shorter side below 16 pixels: 6\n    train/cat/0.png: 8 x 8\n    and 5 more\n",
        "  pictures in both parts: 1 (3 files)\n    train/cat/0.png, test/cat/leaked.bmp and 1 more\n",
        "Thumbs.db (not an image by name or content)",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn what_cannot_be_opened_or_asked_for_is_named() {
    let folder = Folder::new();
    let (_, text) = data(&["check", folder.path("train").to_str().unwrap()], 4);
    assert!(text.contains("has them: give that directory"), "{text}");
    fs::remove_file(folder.path("test/dog/0.png")).unwrap();
    let (_, text) = data(&["check", folder.name()], 4);
    assert!(text.contains("test/dog has no readable image"), "{text}");
    for (arguments, word) in [
        (&["check"][..], "DIR"),
        (&["check", "x", "--image-size", "2"], "do not fit the"),
        (
            &["check", "x", "--stem", "imagenet", "--image-size", "8"],
            "do not fit the",
        ),
        (&["check", "x", "--names", "0"], "--names"),
        (&["mean-std"], "--data"),
        (&["show"], "--dataset"),
        (&["show", "--dataset", "shapes", "--data", "x"], "shapes"),
        (
            &["show", "--dataset", "shapes", "--output", "x.jpg"],
            ".png",
        ),
        (&["show", "--dataset", "shapes", "--epoch", "0"], "--epoch"),
        (
            &["show", "--dataset", "shapes", "--cutout", "63"],
            "1 to 62",
        ),
        (&["show", "--dataset", "shapes", "--mixup", "-1"], "--mixup"),
        (
            &["show", "--dataset", "shapes", "--batch-size", "8"],
            "--mixup or --cutmix",
        ),
        (&["get", "shapes"], "cifar100"),
    ] {
        let (_, text) = data(arguments, 2);
        assert!(text.contains(word), "{word} is not in {text}");
    }
}

#[test]
fn mean_and_deviation_are_those_of_the_training_pixels() {
    let folder = Folder::new();
    let more = imageops::brighten(&noise(7, 8, 8), 40);
    folder.save("train/dog/1.png", &more);
    let images = [noise(0, 8, 8), noise(1, 8, 8), more];
    let arguments = ["mean-std", "--data", folder.name(), "--image-size", "8"];
    let (document, _) = data(&[&arguments[..], &["--json"]].concat(), 0);
    assert_eq!(
        (&document["images"], &document["measured"]),
        (&json!(3), &json!(3))
    );
    for channel in 0..3 {
        let values = images.iter().flat_map(|image| image.pixels());
        let values: Vec<f64> = values.map(|pixel| f64::from(pixel[channel])).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean).powi(2));
        let std = (squares.sum::<f64>() / count).sqrt();
        for (scale, unit) in [("scale_255", 1.0), ("scale_1", 255.0)] {
            for (name, expected) in [("mean", mean), ("std", std)] {
                let given = document[scale][name][channel].as_f64().unwrap();
                let difference = (given * unit - expected).abs();
                assert!(
                    difference < 1e-4,
                    "{scale} {name} {channel}: {given}, {expected}"
                );
            }
        }
    }
    let (_, text) = data(&arguments, 0);
    let mean = document["scale_1"]["mean"][1].as_f64().unwrap();
    assert!(text.contains(&format!("{mean:.5}")), "{text}");
}

/// The picture of `shapes` in a row and column of a grid.
fn cell(grid: &RgbImage, row: u32, column: u32) -> RgbImage {
    imageops::crop_imm(grid, column * 34, row * 34, 32, 32).to_image()
}

fn show(directory: &Path, more: &[&str]) -> RgbImage {
    let output = directory.join("grid.png");
    let arguments = ["show", "--dataset", "shapes", "--seed", "5", "--epoch", "3"];
    let output_flag = ["--output", output.to_str().unwrap()];
    let (_, text) = data(&[&arguments[..], &output_flag, more].concat(), 0);
    assert!(text.contains("rows     disc, ring, "), "{text}");
    image::open(output).unwrap().into_rgb8()
}

#[test]
fn shown_images_are_augmented_as_in_training() {
    let directory = TempDir::new().unwrap();
    let plain = show(directory.path(), &["--count", "3", "--no-augment"]);
    // The second file replaces the first.
    let augmented = show(directory.path(), &["--count", "3"]);
    assert_eq!(augmented.dimensions(), (3 * 34 - 2, 10 * 34 - 2));
    assert_eq!(augmented.get_pixel(32, 0), &Rgb([255; 3]));
    let order = Stream::new(5, Purpose::Shuffle, 3, 0).permutation(shapes::TRAIN as usize);
    let mut flips = 0;
    for class in 0..10 {
        let samples = order.iter().filter(|sample| **sample % 10 == class);
        for (&sample, column) in samples.zip(0..3) {
            let (pixels, _) = shapes::draw(shapes::Part::Train, sample);
            let original = RgbImage::from_raw(32, 32, pixels).unwrap();
            assert_eq!(cell(&plain, class, column), original, "{class} {column}");
            let words = philox4x32([0, sample, 3, Purpose::Augment as u32], key(5));
            let [down, right] = [words[0], words[1]].map(|word| ((word >> 16) * 9) >> 16);
            let flipped = match words[2] & 1 {
                1 => imageops::flip_horizontal(&original),
                _ => original,
            };
            flips += words[2] & 1;
            let mean = Rgb(shapes::MEAN.map(|mean| mean.round() as u8));
            let mut padded = RgbImage::from_pixel(40, 40, mean);
            imageops::replace(&mut padded, &flipped, 4, 4);
            let expected = imageops::crop_imm(&padded, right, down, 32, 32).to_image();
            assert_eq!(
                cell(&augmented, class, column),
                expected,
                "{class} {column}"
            );
        }
    }
    assert!((1..30).contains(&flips), "{flips}");
}

/// Images are transformed, erased pixels have the mean colour, and images of a batch are mixed with
/// each other.
#[test]
fn shown_images_are_changed_as_in_training() {
    let directory = TempDir::new().unwrap();
    let flags = [
        "--count",
        "2",
        "--no-augment",
        "--auto-augment",
        "rand",
        "--erase",
        "0.5",
        "--cutout",
        "9",
    ];
    let mixing = ["--mixup", "1", "--cutmix", "1", "--batch-size", "3"];
    let grid = show(directory.path(), &[&flags[..], &mixing].concat());
    let recipe = Recipe {
        batch_size: 3,
        augment: false,
        auto_augment: AutoAugment::Rand,
        erase: 0.5,
        cutout: Some(9),
        mixup: Some(1.0),
        cutmix: Some(1.0),
        ..Recipe::for_dataset(DatasetKind::Shapes)
    };
    let key = EpochKey { seed: 5, epoch: 3 };
    let order = key.order(shapes::TRAIN as usize);
    let seen = |sample: u32| -> Vec<f64> {
        let (mut pixels, _) = shapes::draw(shapes::Part::Train, sample);
        for transform in AutoAugment::Rand.draw(key, sample, 32) {
            let drawn = pixels.clone();
            transform.apply(&drawn, &mut pixels, 32);
        }
        let mut values: Vec<f64> = pixels.into_iter().map(f64::from).collect();
        for rectangle in erased(&recipe, key, sample, 32) {
            for (at, pixel) in values.chunks_mut(3).enumerate() {
                if rectangle.contains(at / 32, at % 32) {
                    pixel.copy_from_slice(&shapes::MEAN.map(f64::from));
                }
            }
        }
        values
    };
    let mut cuts = 0;
    for class in 0..10 {
        let positions = (0..order.len()).filter(|at| order[*at] % 10 == class);
        for (position, column) in positions.zip(0..2) {
            let (number, row) = (position / 3, position % 3);
            let batch = &order[3 * number..order.len().min(3 * number + 3)];
            let mixing = Mixing::draw(&recipe, key, number as u32, batch.len(), 32).unwrap();
            cuts += u32::from(mixing.cut.is_some());
            let own = seen(batch[row]);
            let other = seen(batch[mixing.partners[row] as usize]);
            let shown = cell(&grid, class, column);
            for (at, byte) in shown.as_raw().iter().enumerate() {
                let (pixel, share) = (at / 3, f64::from(mixing.share));
                let expected = match mixing.cut {
                    Some(cut) if cut.contains(pixel / 32, pixel % 32) => other[at],
                    Some(_) => own[at],
                    None => share * own[at] + (1.0 - share) * other[at],
                };
                // Normalising and back rounds as well.
                let difference = (f64::from(*byte) - expected).abs();
                assert!(difference < 0.5001, "{class} {column}: {byte}, {expected}");
            }
        }
    }
    assert!((1..20).contains(&cuts), "{cuts}");
}
