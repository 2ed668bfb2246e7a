//! Data that is missing or damaged.

use std::fs;

use crate::{fails, path};

#[test]
fn missing_data_says_where_to_get_it() {
    let directory = tempfile::tempdir().unwrap();
    let missing = path(directory.path(), "nowhere");
    fails(
        &["train", "--dataset", "cifar10", "--data", &missing],
        4,
        &[
            "nowhere",
            "cs.toronto.edu",
            "c32a1d4ab5d03f1284b67883e8d87530",
        ],
    );
    let empty = directory.path().display().to_string();
    fails(
        &["train", "--dataset", "cifar10", "--data", &empty],
        4,
        &["data_batch_1.bin"],
    );
    fails(&["train", "--dataset", "cifar10"], 4, &["--data"]);
    fails(
        &["train", "--dataset", "folder", "--data", &empty],
        4,
        &["train"],
    );
}

/// Memory is checked before images are read: these could not be.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_checked_before_images_are_read() {
    let directory = tempfile::tempdir().unwrap();
    for (class, count) in [
        ("train/a", 4000),
        ("train/b", 1),
        ("test/a", 1),
        ("test/b", 1),
    ] {
        let folder = directory.path().join(class);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            fs::write(folder.join(format!("{number}.png")), "").unwrap();
        }
    }
    let data = directory.path().display().to_string();
    let show = ["data", "show", "--dataset", "folder", "--data", &data];
    let large = ["--image-size", "4096", "--count", "4000"];
    fails(
        &[&show[..], &large].concat(),
        3,
        &["TiB of memory are needed", "fewer images"],
    );
}

#[test]
fn damaged_records_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("cifar-10-batches-bin");
    fs::create_dir(&data).unwrap();
    for name in [
        "data_batch_1",
        "data_batch_2",
        "data_batch_3",
        "data_batch_4",
        "data_batch_5",
    ] {
        fs::write(data.join(format!("{name}.bin")), vec![0; 100]).unwrap();
    }
    fs::write(data.join("test_batch.bin"), vec![0; 100]).unwrap();
    let data = directory.path().display().to_string();
    fails(
        &["train", "--dataset", "cifar10", "--data", &data],
        4,
        &["truncated", "30730000"],
    );
}
