//! Folders of small images, valid and invalid.

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::*;
use crate::data::DatasetKind;

fn manifest() -> Manifest {
    DatasetKind::Folder.manifest()
}

/// Both parts, with images of 4 x 4.
fn request(dir: Option<&Path>) -> Request {
    Request {
        kind: DatasetKind::Folder,
        dir: dir.map(Path::to_path_buf),
        resize: Resize::whole(4),
        need_train: true,
    }
}

/// A dataset folder that is deleted when dropped.
struct Folder(TempDir);

impl Folder {
    /// `counts` images of 4 x 4 for each class of both parts. The images of class c are
    /// of the colour (c·50, number, 9).
    fn new(classes: &[&str], counts: usize) -> Folder {
        let folder = Folder(TempDir::new().unwrap());
        for part in ["train", "test"] {
            for (label, class) in classes.iter().enumerate() {
                fs::create_dir_all(folder.path(&format!("{part}/{class}"))).unwrap();
                for number in 0..counts {
                    let colour = Rgb([label as u8 * 50, number as u8, 9]);
                    let file = format!("{part}/{class}/{number:03}.png");
                    let image = RgbImage::from_pixel(4, 4, colour);
                    image.save(folder.path(&file)).unwrap();
                }
            }
        }
        folder
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn write(&self, below: &str, content: &[u8]) {
        fs::write(self.path(below), content).unwrap();
    }

    fn open(&self) -> Result<Dataset, DataError> {
        self.open_within(HOST_LIMIT)
    }

    fn open_within(&self, resident_limit: u64) -> Result<Dataset, DataError> {
        open_within(manifest(), &request(Some(self.0.path())), resident_limit)
    }

    fn error(&self) -> String {
        self.open().err().unwrap().to_string()
    }
}

/// The first pixel and the label of every image.
fn colours(source: &dyn Source) -> Vec<([u8; 3], u32)> {
    let mut image = vec![0; image_bytes(source.size())];
    (0..source.len())
        .map(|index| {
            source.read(index, None, &mut image).unwrap();
            (image[..3].try_into().unwrap(), source.label(index))
        })
        .collect()
}

#[track_caller]
fn assert_has(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in: {text}");
}

/// A complete header without data: only decoding reveals the damage.
fn damaged_png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = RgbImage::new(4, 4);
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()[..40].to_vec()
}

#[test]
fn classes_and_images_come_in_byte_wise_order() {
    // Capitals sort before small letters, and 10 before 9.
    let folder = Folder::new(&["Zebra", "ape", "bee"], 2);
    folder.write("train/.hidden", b"");
    folder.write("train/readme.txt", b"not a class");
    folder.write("train/ape/.DS_Store", b"left alone");
    let data = folder.open().unwrap();
    assert_eq!(data.classes, ["Zebra", "ape", "bee"]);
    assert!(data.notes.is_empty(), "{:?}", data.notes);
    let train = data.train.unwrap();
    let expected: Vec<_> = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
        .map(|(label, number)| ([label as u8 * 50, number, 9], label))
        .to_vec();
    assert_eq!(colours(&*train), expected);
    assert!(train.resident().is_some());
    // Mean of 0, 50, 100 and of 0, 1; blue does not vary, and its deviation of 0 becomes 1.
    assert_eq!(data.mean, [50.0, 0.5, 9.0]);
    assert_eq!((data.std[1], data.std[2]), (1.0, 1.0));
    assert!((data.std[0] - (5000f32 / 3.0).sqrt()).abs() < 1e-4);
}

#[test]
fn images_on_disk_read_like_images_in_memory() {
    let folder = Folder::new(&["a", "b"], 3);
    let resident = folder.open().unwrap();
    let on_disk = folder.open_within(12 * 48 - 1).unwrap();
    assert!(on_disk.test.resident().is_none());
    assert_eq!(colours(&*resident.test), colours(&*on_disk.test));
    assert_eq!((resident.mean, resident.std), (on_disk.mean, on_disk.std));
}

#[test]
fn val_stands_in_for_test() {
    let folder = Folder::new(&["a", "b"], 1);
    fs::rename(folder.path("test"), folder.path("val")).unwrap();
    assert_eq!(folder.open().unwrap().test.len(), 2);
    fs::create_dir(folder.path("test")).unwrap();
    // With both, test is used; it is empty, so opening fails before the note is shown.
    assert_has(&folder.error(), "test has no class");
}

#[test]
fn evaluation_does_not_need_the_training_part() {
    let folder = Folder::new(&["a", "b"], 1);
    fs::remove_dir_all(folder.path("train")).unwrap();
    let mut request = request(Some(folder.0.path()));
    request.need_train = false;
    let data = open(manifest(), &request).unwrap();
    assert!(data.train.is_none());
    assert_eq!(data.mean, [25.0, 0.0, 9.0]);
}

#[test]
fn a_missing_part_is_named() {
    let none = open(manifest(), &request(None));
    assert_has(&none.err().unwrap().to_string(), "give it with --data DIR");
    let folder = Folder::new(&[], 0);
    let nowhere = folder.path("nowhere");
    let missing = open(manifest(), &request(Some(&nowhere)));
    assert_has(&missing.err().unwrap().to_string(), "no directory ");
    let empty = folder.error();
    assert_has(
        &empty,
        "lacks the folder train, the folder test or val; expected",
    );
    assert_has(&empty, "DIR/train/<class>/<image>");
    fs::create_dir(folder.path("train")).unwrap();
    assert_has(&folder.error(), "lacks the folder test or val; expected");
}

#[test]
fn one_class_is_too_few() {
    let folder = Folder::new(&["a"], 1);
    assert_has(&folder.error(), "test has only the class `a`");
}

#[test]
fn classes_that_differ_are_named() {
    let folder = Folder::new(&["a", "b", "c"], 1);
    fs::rename(folder.path("test/b"), folder.path("test/bb")).unwrap();
    let expected = "differ: only in training: `b`; only in test: `bb`";
    assert_has(&folder.error(), expected);
}

#[test]
fn a_class_without_images_is_named() {
    let folder = Folder::new(&["a", "b"], 1);
    fs::remove_file(folder.path("train/b/000.png")).unwrap();
    let path = folder.path("train/b");
    assert_has(
        &folder.error(),
        &format!("{} has no readable image; add", path.display()),
    );
    folder.write("train/b/notes.txt", b"soon");
    assert_has(
        &folder.error(),
        "has no readable image (first unreadable file: b/notes.txt: not an image",
    );
}

#[test]
fn a_hundredth_of_the_files_may_be_unreadable() {
    let folder = Folder::new(&["a", "b"], 50);
    folder.write("train/a/010.png", b"no image");
    fs::create_dir(folder.path("train/a/more")).unwrap();
    for limit in [HOST_LIMIT, 0] {
        let data = folder.open_within(limit).unwrap();
        let train = data.train.unwrap();
        assert_eq!(train.len(), 99);
        // Images after the gap have moved up, with their labels.
        let colours = colours(&*train);
        assert_eq!(colours[10], ([0, 11, 9], 0));
        assert_eq!(colours[49], ([50, 0, 9], 1));
        let notes = data.notes.join("\n");
        assert_has(&notes, "more is a folder in a class folder; not searched");
        assert_has(&notes, "skipped 1 of 100 files in ");
        assert_has(&notes, "a/010.png: not an image in JPEG");
    }
    folder.write("train/b/011.png", b"");
    for limit in [HOST_LIMIT, 0] {
        let error = folder.open_within(limit).err().unwrap().to_string();
        assert_has(&error, "2 of 100 files in ");
        assert_has(&error, "b/011.png: the file is empty; repair or remove");
    }
}

#[test]
fn a_file_that_claims_too_much_memory_is_skipped_by_name() {
    let folder = Folder::new(&["a", "b"], 50);
    // A GIF with a canvas of one pixel and a frame of 65,535 x 65,535.
    folder.write(
        "train/a/010.png",
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF,\0\0\0\0\xFF\xFF\xFF\xFF\0\x02\x01\0;",
    );
    for limit in [HOST_LIMIT, 0] {
        let data = folder.open_within(limit).unwrap();
        let train = data.train.unwrap();
        let colours = colours(&*train);
        let (at, notes) = match limit {
            0 => (11, train.notes()),
            _ => (10, data.notes),
        };
        assert_eq!(colours[at], ([0, 11, 9], 0));
        let expected = "a/010.png: an image of 65535 x 65535 is too large to decode";
        assert_has(&notes.join(""), expected);
    }
}

#[test]
fn an_image_damaged_on_disk_is_replaced_by_the_next_of_its_class() {
    let folder = Folder::new(&["a", "b"], 50);
    let data = folder.open_within(0).unwrap();
    let train = data.train.unwrap();
    // The last image of its class is replaced by the first one.
    folder.write("train/a/049.png", &damaged_png());
    let found = colours(&*train);
    assert_eq!((found.len(), found[49]), (100, ([0, 0, 9], 0)));
    assert_has(&train.notes().join(""), "a/049.png: damaged PNG image");
    assert_eq!(train.notes().len(), 1);
    assert_eq!(colours(&*train)[49], found[49]);

    folder.write("train/b/000.png", &damaged_png());
    let error = train.read(50, None, &mut [0; 48]).unwrap_err().to_string();
    assert_has(&error, "2 of 100 files in ");
}

#[test]
fn many_unreadable_files_are_counted_and_a_few_are_named() {
    let folder = Folder::new(&["a", "b"], 10);
    for number in 0..8 {
        folder.write(&format!("test/b/{number:03}.png"), &damaged_png());
    }
    let error = folder.error();
    assert_has(&error, "8 of 20 files in ");
    assert_has(&error, "b/004.png: damaged PNG image");
    assert_has(&error, "and 3 more; repair");
}
