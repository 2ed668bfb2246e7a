//! Training on image files in ImageNet's layout: damaged files, an interruption within an epoch,
//! other numbers of threads, a cache that cannot be written.

use std::fs;

use image::{ImageFormat, Rgb, RgbImage};
use pyr_wgpu::rng::{Purpose, Stream};

use crate::{Place, ended, expect, signal, started};

/// A small network with the ImageNet stem.
const TRAIN: &str = "train --depth 18 --alpha 8 --block basic --stem imagenet --image-size 32 \
                     --dataset imagenet --data photos --batch-size 16 --device cpu --epochs 1 --lr \
                     0.01 --run-dir";

impl Place {
    /// Photographs in JPEG files of all sizes and ratios: three classes, 35 training and 4
    /// validation images each, with one damaged.
    fn add_photos(&self) {
        let mut random = Stream::new(5, Purpose::Shapes, 0, 0);
        for (part, count) in [("train", 35), ("val", 4)] {
            for class in 0..3 {
                let folder = self.path(&format!("photos/{part}/n0000000{class}"));
                fs::create_dir_all(&folder).unwrap();
                for number in 0..count {
                    let [width, height] = [0, 1].map(|_| 20 + random.below(90));
                    let shift = random.below(200);
                    let image = RgbImage::from_fn(width, height, |x, y| {
                        let mut pixel = [((x * 3 + y * 2 + shift) % 200) as u8; 3];
                        pixel[class] = 220;
                        Rgb(pixel)
                    });
                    let file = folder.join(format!("{number}.JPEG"));
                    image.save_with_format(file, ImageFormat::Jpeg).unwrap();
                }
            }
        }
        let damaged = self.path("photos/train/n00000001/20.JPEG");
        let bytes = fs::read(&damaged).unwrap();
        fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
        let list = "n00000000 red\nn00000001 green, lime\nn00000002 blue\n";
        fs::write(self.path("photos/LOC_synset_mapping.txt"), list).unwrap();
    }
}

#[test]
fn image_files_train_evaluate_and_resume_within_an_epoch() {
    let place = Place::new();
    place.add_photos();
    let flags: Vec<&str> = TRAIN.split_whitespace().collect();
    let reference = place.run(&[&flags[..], &["whole", "--workers", "1"]].concat());
    let note = "1 of 105 image files in ";
    let words = [
        "imagenet, 105 training and 12 test images, flip, crop of random area, changes of colour",
        note,
        "replaced by others of their class: n00000001/20.JPEG: damaged JPEG image: it is truncated",
        "finished",
    ];
    expect(&reference, 0, &words);
    let reference = place.state("whole");
    let classes = fs::read_to_string(place.path("whole/classes.txt")).unwrap();
    assert_eq!(classes, "red\ngreen, lime\nblue\n");

    let run = ["run", "--workers", "3", "--checkpoint-every", "1"];
    let mut command = place.command(&[&flags[..], &run].concat());
    let (child, events) = started(&mut command, "\"step\":2");
    signal(&child, "INT");
    drop(events);
    let (code, stderr) = ended(child);
    assert_eq!(code, Some(130), "{stderr}");
    assert!(
        stderr.contains("stopped and saved at epoch 1, step "),
        "{stderr}"
    );
    // No directory of the cache can be made.
    fs::remove_dir_all(place.path("cache")).unwrap_or(());
    fs::write(place.path("cache"), b"a file").unwrap();
    let resumed = place.run(&["train", "--resume", "run", "--workers", "2"]);
    expect(
        &resumed,
        0,
        &["resuming at epoch 1, step ", note, "finished"],
    );
    place.check("run", &reference, 1, "interrupted");

    let eval = ["eval", "run", "--dataset", "imagenet", "--data", "photos"];
    let eval = place.run(&[&eval[..], &["--device", "cpu"]].concat());
    expect(&eval, 0, &[]);
    let show =
        "data show --dataset imagenet --data photos --stem imagenet --image-size 32 --count 2";
    let show: Vec<&str> = show.split_whitespace().collect();
    expect(
        &place.run(&show),
        0,
        &["rows     red, green, lime, blue", "6 images"],
    );
    let bench = "bench --data photos --image-size 32 --batch-size 8 --workers 2 --seconds 0.2";
    let bench: Vec<&str> = bench.split_whitespace().collect();
    let output = place.run(&bench);
    expect(&output, 0, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("images/s") && text.contains("MB/s"), "{text}");
}

/// What an augmentation needs, and that earlier runs keep theirs.
#[test]
fn an_augmentation_that_cannot_be_is_refused() {
    let place = Place::new();
    let refused = |more: &str, words: &[&str]| {
        let arguments = format!("train --depth 8 --alpha 3 --image-size 8 --device cpu {more}");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        expect(&place.run(&arguments), 2, words);
    };
    refused("--augmentation imagenet", &["--dataset imagenet or folder"]);
    let both = "--dataset folder --data data --augmentation imagenet --no-augment";
    refused(both, &["--no-augment"]);
    let bench = ["bench", "--data", "data", "--device", "cpu"];
    expect(&place.run(&bench), 2, &["--data", "--device"]);

    // The network decides where images are cropped, in a small folder as well.
    let train = |stem: &str, run: &str| {
        let size = if stem == "cifar" { "8" } else { "32" };
        let depth = if stem == "cifar" { "8" } else { "18" };
        let output = place.run(&[
            "train",
            "--stem",
            stem,
            "--depth",
            depth,
            "--alpha",
            "4",
            "--image-size",
            size,
            "--dataset",
            "folder",
            "--data",
            "data",
            "--device",
            "cpu",
            "--epochs",
            "1",
            "--run-dir",
            run,
        ]);
        expect(&output, 0, &["finished"]);
        let config = fs::read_to_string(place.path(run).join("config.toml")).unwrap();
        config.contains("augmentation = \"imagenet\"")
    };
    assert!(!train("cifar", "cifar"));
    assert!(train("imagenet", "imagenet"));
    let resume = [
        "train",
        "--resume",
        "imagenet",
        "--epochs",
        "2",
        "--augmentation",
        "crop",
    ];
    expect(&place.run(&resume), 2, &["--augmentation differs"]);
    let resume = [&resume[..], &["--allow", "augmentation"]].concat();
    let words = ["flip and crop after padding by 4", "finished"];
    expect(&place.run(&resume), 0, &words);
}
