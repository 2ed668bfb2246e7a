//! Folders in ImageNet's layout: names of classes, and what unpacked archives look like.

use std::fs;
use std::sync::Arc;

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::*;
use crate::data::{Augmentation, DatasetKind, EpochKey, Resize, Source};
use crate::shape::PixelFormat;

/// `bird` and `machine` share their words.
const TENCH: &str = "n01440764";
const BIRD: &str = "n02012849";
const MACHINE: &str = "n03126707";

const LIST: &str = "n01440764 tench, Tinca tinca\nn02012849 crane\nn03126707 crane\n";

/// A folder `root/Data` with two images of each class in each part.
fn folder(classes: &[&str]) -> TempDir {
    let root = TempDir::new().unwrap();
    for part in ["train", "val"] {
        for (label, class) in classes.iter().enumerate() {
            let class = root.path().join("Data").join(part).join(class);
            fs::create_dir_all(&class).unwrap();
            for number in 0..2 {
                let colour = Rgb([label as u8 * 50, number, 9]);
                let image = RgbImage::from_pixel(6, 5, colour);
                let file = class.join(format!("{number}.JPEG"));
                image
                    .save_with_format(file, image::ImageFormat::Png)
                    .unwrap();
            }
        }
    }
    root
}

fn open(root: &TempDir) -> Result<Dataset, DataError> {
    let request = Request {
        kind: DatasetKind::ImageNet,
        dir: Some(root.path().join("Data")),
        resize: Resize::new(4, 5),
        need_train: true,
        augmentation: Augmentation::ImageNet,
        cache: None,
    };
    crate::data::open(&request)
}

fn error(root: &TempDir) -> String {
    open(root).err().unwrap().to_string()
}

#[test]
fn classes_are_named_by_their_words() {
    let root = folder(&[MACHINE, TENCH]);
    let data = open(&root).unwrap();
    assert_eq!(data.classes, [TENCH, MACHINE]);
    let notes = data.notes.join("");
    assert!(
        notes.contains("LOC_synset_mapping.txt in the directory would"),
        "{notes}"
    );
    assert_eq!((data.mean[0], data.std[2]), (123.675, 57.375));

    // Also where the other class with these words is not in the folder.
    let list = root.path().join("LOC_synset_mapping.txt");
    fs::write(&list, LIST.replace('\n', "\r\n")).unwrap();
    let data = open(&root).unwrap();
    assert_eq!(data.classes, ["tench, Tinca tinca", "crane (n03126707)"]);
    assert!(data.notes.is_empty(), "{:?}", data.notes);
    // The nearer list.
    fs::write(
        root.path().join("Data/synset_words.txt"),
        LIST.replace("tench, ", ""),
    )
    .unwrap();
    assert_eq!(open(&root).unwrap().classes[0], "Tinca tinca");

    for part in ["train", "val"] {
        let part = root.path().join("Data").join(part);
        fs::rename(part.join(TENCH), part.join("tench")).unwrap();
    }
    let error = error(&root);
    assert!(
        error.contains("synset_words.txt does not list the class folder `tench`;"),
        "{error}"
    );
}

#[test]
fn unlabelled_test_images_are_not_the_test_part() {
    let root = folder(&[TENCH, BIRD]);
    fs::create_dir(root.path().join("Data/test")).unwrap();
    let data = open(&root).unwrap();
    assert_eq!((data.train.unwrap().len(), data.test.len()), (4, 4));
    let notes = data.notes.join("");
    assert!(
        notes.contains(": test (neither the training nor the test part)"),
        "{notes}"
    );
    fs::remove_dir_all(root.path().join("Data/val")).unwrap();
    let error = error(&root);
    assert!(
        error.contains("lacks the folder val; expected DIR/train/<class>"),
        "{error}"
    );
}

#[test]
fn images_that_lie_as_unpacked_are_explained() {
    let root = folder(&[TENCH, BIRD]);
    let val = root.path().join("Data/val");
    fs::remove_dir_all(&val).unwrap();
    fs::create_dir(&val).unwrap();
    for number in 1..30 {
        fs::write(val.join(format!("ILSVRC2012_val_{number:08}.JPEG")), b"").unwrap();
    }
    let text = error(&root);
    assert!(
        text.contains("val has no class folders, as after unpacking"),
        "{text}"
    );
    assert!(
        text.contains("valprep.sh") && text.contains("mv $image.JPEG $class/"),
        "{text}"
    );
    assert!(!text.contains("00000001"), "{text}");

    let root = folder(&[TENCH, BIRD]);
    let train = root.path().join("Data/train");
    fs::remove_dir_all(&train).unwrap();
    fs::create_dir(&train).unwrap();
    fs::write(train.join("n01440764.tar"), b"").unwrap();
    let text = error(&root);
    assert!(
        text.contains("train has no class folders") && text.contains("tar -xf"),
        "{text}"
    );
}

/// The formats, the files that replace damaged ones, and that an image does not depend on what was
/// read before.
#[test]
fn training_images_are_augmented_and_damaged_ones_replaced() {
    let root = folder(&[TENCH, BIRD]);
    let bird = root.path().join("Data/train").join(BIRD);
    for number in 2..120 {
        fs::copy(bird.join("0.JPEG"), bird.join(format!("{number}.JPEG"))).unwrap();
    }
    fs::write(bird.join("1.JPEG"), b"no image").unwrap();
    let read = |train: &Arc<dyn Source>, index, key: Option<EpochKey>| {
        let format = train.pixels(key.is_some());
        let mut out = vec![0; format.image_bytes(4)];
        train.read(index, key, &mut out).unwrap();
        (format, out)
    };
    let train = open(&root).unwrap().train.unwrap();
    let key = Some(EpochKey { seed: 1, epoch: 2 });
    let tench = |colour: u8| [0, colour, 9].repeat(16);
    assert_eq!(read(&train, 1, None), (PixelFormat::U8, tench(1)));
    let (format, augmented) = read(&train, 1, key);
    assert_eq!((format, augmented.len()), (PixelFormat::F32, 4 * 48));
    assert!(train.notes().is_empty());
    // Byte-wise order: 0, 1, 10, ….
    let damaged = 3;
    let replaced = read(&train, damaged, key);
    assert!(train.is_damaged(damaged));
    assert!(train.notes().join("").contains("1 of 122 image files in "));
    // A resumed run may find the damage at another image first.
    let again = open(&root).unwrap().train.unwrap();
    assert_eq!(read(&again, damaged, key), replaced);
    assert_eq!(read(&again, 1, key).1, augmented);
    assert_eq!(open(&root).unwrap().test.pixels(true), PixelFormat::U8);
}
