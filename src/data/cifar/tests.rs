//! The reader on small files of the same format.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::data::{Augmentation, DatasetKind, Resize};

/// A manifest of two training files of two records and a test file of one.
fn small(label_bytes: usize) -> Manifest {
    let record = label_bytes + 3072;
    let text = format!(
        r#"
        title = "Small"
        [recipe]
        epochs = 1
        batch_size = 2
        learning_rate = 0.1
        milestones = []
        [constants]
        mean = [1.0, 2.0, 3.0]
        std = [4.0, 5.0, 6.0]
        [published]
        classes = ["a", "b", "c"]
        folder = "small-bin"
        label_bytes = {label_bytes}
        train = [{{ name = "1.bin", bytes = {two} }}, {{ name = "2.bin", bytes = {two} }}]
        test = [{{ name = "test.bin", bytes = {record} }}]
        [published.archive]
        page = "https://example.org/"
        name = "small.tar.gz"
        urls = ["https://example.org/small.tar.gz"]
        bytes = 99
        md5 = "0123"
        sha256 = "4567"
        "#,
        two = 2 * record
    );
    toml::from_str(&text).unwrap()
}

/// A record whose planes count up from `red`, `green` and `blue`, modulo 251.
fn record(labels: &[u8], red: usize, green: usize, blue: usize) -> Vec<u8> {
    let plane = |start: usize| (0..PLANE).map(move |i| ((start + i) % 251) as u8);
    let planes = plane(red).chain(plane(green)).chain(plane(blue));
    labels.iter().copied().chain(planes).collect()
}

/// Writes the small dataset for two label bytes, or with the fine label alone.
fn write(folder: &Path, label_bytes: usize) {
    let labels = |fine: u8| [9, fine][2 - label_bytes..].to_vec();
    let file = |fine: &[u8]| -> Vec<u8> {
        let records = fine.iter().map(|&label| record(&labels(label), 1, 50, 100));
        records.flatten().collect()
    };
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("1.bin"), file(&[0, 1])).unwrap();
    fs::write(folder.join("2.bin"), file(&[2, 0])).unwrap();
    fs::write(folder.join("test.bin"), record(&labels(1), 7, 8, 9)).unwrap();
}

/// Both parts at their own size.
fn request(dir: Option<&Path>) -> Request {
    Request {
        kind: DatasetKind::Cifar10,
        dir: dir.map(Path::to_path_buf),
        resize: Resize::whole(SIZE),
        need_train: true,
        augmentation: Augmentation::default(),
        cache: None,
    }
}

fn open_small(folder: &Path, need_train: bool) -> Result<Dataset, DataError> {
    let request = Request {
        need_train,
        ..request(Some(folder))
    };
    open(small(1), &request)
}

fn error(folder: &Path) -> String {
    open_small(folder, true).err().unwrap().to_string()
}

#[test]
fn both_formats_are_read_with_the_last_label_byte() {
    for label_bytes in [1, 2] {
        let folder = TempDir::new().unwrap();
        write(folder.path(), label_bytes);
        let manifest = small(label_bytes);
        let data = open(manifest, &request(Some(folder.path()))).unwrap();
        let train = data.train.unwrap();
        let labels: Vec<u32> = (0..train.len()).map(|i| train.label(i)).collect();
        assert_eq!(labels, [0, 1, 2, 0]);
        assert_eq!((data.test.len(), data.test.label(0)), (1, 1));
        assert_eq!((data.mean, data.std), ([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]));
        assert_eq!(data.classes, ["a", "b", "c"]);

        let mut image = vec![0; 3072];
        data.test.read(0, None, &mut image).unwrap();
        // Pixel 33 is row 1, column 1; the planes begin with 7, 8 and 9.
        assert_eq!(image[..6], [7, 8, 9, 8, 9, 10]);
        assert_eq!(image[33 * 3..34 * 3], [40, 41, 42]);
        assert_eq!(train.resident().unwrap().len(), 4 * 3072);
    }
}

#[test]
fn the_folder_of_the_archive_is_found() {
    let folder = TempDir::new().unwrap();
    write(&folder.path().join("small-bin"), 1);
    assert_eq!(open_small(folder.path(), true).unwrap().test.len(), 1);
}

#[test]
fn other_files_of_records_are_noted() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 1);
    fs::write(folder.path().join("readme.html"), b"of the archive").unwrap();
    assert!(open_small(folder.path(), false).unwrap().notes.is_empty());
    fs::write(folder.path().join("3.bin"), b"").unwrap();
    let notes = open_small(folder.path(), true).unwrap().notes;
    let expected = format!(
        "not used in {}: 3.bin (not a file of Small)",
        folder.path().display()
    );
    assert_eq!(notes, [expected]);
}

#[test]
fn evaluation_needs_the_test_file_alone() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 1);
    fs::remove_file(folder.path().join("1.bin")).unwrap();
    assert!(open_small(folder.path(), false).unwrap().train.is_none());
}

#[test]
fn images_may_get_another_size() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 1);
    let request = Request {
        resize: Resize::whole(8),
        ..request(Some(folder.path()))
    };
    let data = open(small(1), &request).unwrap();
    assert_eq!((data.test.size(), data.train.unwrap().size()), (8, 8));
}

#[test]
fn missing_data_says_what_to_fetch() {
    let nowhere = open(small(1), &request(None));
    let message = nowhere.err().unwrap().to_string();
    assert!(message.starts_with("the dataset Small needs a directory: give it with --data DIR"));

    let folder = TempDir::new().unwrap();
    let absent = folder.path().join("absent");
    assert!(error(&absent).starts_with(&format!("no directory {}", absent.display())));

    let empty = error(folder.path());
    for part in [
        "lacks 1.bin, 2.bin, test.bin; `pyr-wgpu data get cifar10` downloads it; or get",
        "https://example.org/small.tar.gz, 99 bytes",
        "md5 0123",
        "sha256 4567",
        "in DIR or DIR/small-bin: 1.bin (6146 bytes), 2.bin (6146 bytes), test.bin (3073 bytes)",
    ] {
        assert!(empty.contains(part), "{empty}");
    }
    assert!(!empty.contains("small-bin lacks"), "{empty}");

    // The error is about the folder that holds some of the files.
    write(&folder.path().join("small-bin"), 1);
    fs::remove_file(folder.path().join("small-bin/2.bin")).unwrap();
    let partial = error(folder.path());
    assert!(partial.contains("small-bin lacks 2.bin; "), "{partial}");
}

#[test]
fn a_file_of_the_wrong_length_is_refused() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 1);
    let path = folder.path().join("2.bin");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..6000]).unwrap();
    let message = error(folder.path());
    let expected = "2.bin is 6000 bytes long but should have 6146 (2 records of 3073 bytes): \
                    it is truncated";
    assert!(message.contains(expected), "{message}");
    fs::write(&path, [whole, vec![0]].concat()).unwrap();
    let message = error(folder.path());
    let expected = "2.bin is 6147 bytes long but should have 6146";
    assert!(message.contains(expected) && message.contains("too long"));
}

#[test]
fn a_label_out_of_range_is_refused() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), 1);
    let bytes = [record(&[2], 0, 0, 0), record(&[3], 0, 0, 0)].concat();
    fs::write(folder.path().join("2.bin"), bytes).unwrap();
    let message = error(folder.path());
    let expected = "2.bin: record 1 (counted from 0) has the label 3, but Small has the labels \
                    0 to 2";
    assert!(message.contains(expected), "{message}");
}
