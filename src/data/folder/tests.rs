//! Folders of small images, valid and invalid.

mod unreadable;

use image::{Rgb, RgbImage};
use tempfile::TempDir;

use std::fs;

use super::super::resize::image_bytes;
use super::*;
use crate::data::{Augmentation, DatasetKind};

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
        augmentation: Augmentation::default(),
        cache: None,
    }
}

/// A dataset folder that is deleted when dropped.
pub(super) struct Folder(TempDir);

impl Folder {
    /// `counts` images of 4 x 4 for each class of both parts. The images of class c are
    /// of the colour (c·50, number, 9).
    pub(super) fn new(classes: &[&str], counts: usize) -> Folder {
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

    pub(super) fn path(&self, below: &str) -> PathBuf {
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
pub(super) fn colours(source: &dyn Source) -> Vec<([u8; 3], u32)> {
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

fn plain_png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = RgbImage::new(4, 4);
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// A complete header without data: only decoding reveals the damage.
fn damaged_png() -> Vec<u8> {
    plain_png()[..40].to_vec()
}

#[test]
fn classes_and_images_come_in_byte_wise_order() {
    // Capitals sort before small letters, and 10 before 9.
    let folder = Folder::new(&["Zebra", "ape", "bee"], 2);
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
fn parts_have_several_names_in_any_case() {
    for (train, test) in [
        ("train", "val"),
        ("Train", "Test"),
        ("TRAIN", "Valid"),
        ("training", "validation"),
        ("Training", "Testing"),
    ] {
        let folder = Folder::new(&["a", "b"], 1);
        fs::rename(folder.path("train"), folder.path(train)).unwrap();
        fs::rename(folder.path("test"), folder.path(test)).unwrap();
        let data = folder.open().unwrap();
        assert_eq!((data.train.unwrap().len(), data.test.len()), (2, 2));
        assert!(data.notes.is_empty(), "{:?}", data.notes);
    }
}

#[test]
fn of_two_folders_for_a_part_one_is_used_and_the_other_noted() {
    let folder = Folder::new(&["a", "b"], 1);
    fs::create_dir(folder.path("val")).unwrap();
    let notes = folder.open().unwrap().notes.join("\n");
    assert_has(&notes, ": val (the test part is test)");
    // Also where the one that is used is of no use.
    fs::rename(folder.path("test"), folder.path("valid")).unwrap();
    let error = folder.error();
    assert_has(&error, "val has no class");
    assert_has(&error, ": valid (the test part is val)");
}

#[test]
fn folders_that_may_be_the_missing_part_are_named() {
    let folder = Folder::new(&["a", "b"], 1);
    for (from, to, meant) in [
        (
            "test",
            "dev",
            "the folder test or val (there is dev: rename it to test)",
        ),
        ("dev", "tests", "(there is tests: rename it to test)"),
        (
            "train",
            "trian",
            "the folder train (there is trian: rename it to train)",
        ),
        (
            "trian",
            "train_images",
            "(there is train_images: rename it to train)",
        ),
        // A class of an undivided folder is not one.
        (
            "train_images",
            "rain",
            "lacks the folder train, the folder test or val",
        ),
    ] {
        fs::rename(folder.path(from), folder.path(to)).unwrap();
        assert_has(&folder.error(), meant);
    }
    assert_has(
        &folder.error(),
        ": rain, tests (neither the training nor the test part)",
    );
}

#[test]
fn a_dataset_one_level_up_or_down_is_named() {
    let folder = Folder::new(&["a", "b"], 1);
    let error = |dir: &Path| {
        let opened = open(manifest(), &request(Some(dir)));
        opened.err().unwrap().to_string()
    };
    let advice = format!("{} has them: give that", folder.0.path().display());
    assert_has(&error(&folder.path("train")), &advice);
    let above = TempDir::new().unwrap();
    fs::rename(folder.0.path(), above.path().join("inner")).unwrap();
    let advice = format!(
        "{} has them: give that",
        above.path().join("inner").display()
    );
    assert_has(&error(above.path()), &advice);
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
    let error = folder.error();
    assert_has(&error, "has no readable image; add");
    assert_has(
        &error,
        ": train/b/notes.txt (not an image by name or content)",
    );
    folder.write("train/b/notes.png", b"soon");
    assert_has(
        &folder.error(),
        "has no readable image (first unreadable file: b/notes.png: not an image",
    );
}

#[test]
fn images_at_the_wrong_depth_are_named() {
    let folder = Folder::new(&["a", "b"], 1);
    fs::create_dir(folder.path("train/b/more")).unwrap();
    fs::rename(
        folder.path("train/b/000.png"),
        folder.path("train/b/more/0.png"),
    )
    .unwrap();
    let error = folder.error();
    assert_has(&error, "train/b has no readable image");
    assert_has(
        &error,
        ": train/b/more (a folder in a class folder; not searched",
    );

    let folder = Folder::new(&["a", "b"], 1);
    for class in ["a", "b"] {
        let from = folder.path(&format!("train/{class}"));
        fs::rename(
            from.join("000.png"),
            folder.path(&format!("train/{class}.png")),
        )
        .unwrap();
        fs::remove_dir(from).unwrap();
    }
    let error = folder.error();
    assert_has(&error, "train has no class");
    assert_has(&error, ": train/a.png, train/b.png (not in a class folder)");
}

/// What operating systems and tools leave in folders is no image, and no damage.
#[test]
fn what_is_not_used_is_noted_once_for_each_reason() {
    let folder = Folder::new(&["a", "b"], 1);
    for (file, content) in [
        ("train/a/Thumbs.db", &b"\xd0\xcf\x11\xe0"[..]),
        ("train/a/desktop.ini", b"[.ShellClassInfo]"),
        ("train/a/empty", b""),
        ("test/b/labels.csv", b"file,label"),
        ("train/a/.DS_Store", b""),
        ("train/.ignored", b""),
        ("train/loose.png", b""),
        ("README.md", b""),
    ] {
        folder.write(file, content);
    }
    for place in ["train/a/more", "extra"] {
        fs::create_dir(folder.path(place)).unwrap();
    }
    // An image without an extension is one, but a large folder is not searched for it.
    fs::copy(folder.path("train/b/000.png"), folder.path("train/b/001")).unwrap();
    for (limit, images, none) in [
        (
            HOST_LIMIT,
            3,
            "test/b/labels.csv, train/a/Thumbs.db, train/a/desktop.ini and 1 more (not an image \
             by name or content)",
        ),
        (
            0,
            2,
            "test/b/labels.csv, train/a/Thumbs.db, train/a/desktop.ini and 2 more (not an image \
             by name; contents of a folder too large for the memory are not searched for images)",
        ),
    ] {
        let data = folder.open_within(limit).unwrap();
        assert_eq!((data.train.unwrap().len(), data.test.len()), (images, 2));
        let directory = folder.0.path().display();
        let expected = [
            "README.md, extra (neither the training nor the test part)",
            "train/a/more (a folder in a class folder; not searched, images belong directly into \
             the class folder)",
            none,
            "train/loose.png (not in a class folder)",
            "train/.ignored, train/a/.DS_Store (the name begins with a dot)",
        ];
        let expected = expected.map(|note| format!("not used in {directory}: {note}"));
        let mut notes = data.notes;
        notes.sort();
        let mut sorted = expected.to_vec();
        sorted.sort();
        assert_eq!(notes, sorted);
    }
}

#[cfg(unix)]
#[test]
fn links_and_special_files_are_noted() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    let folder = Folder::new(&["a", "b"], 1);
    symlink(folder.path("gone"), folder.path("train/c")).unwrap();
    symlink(folder.path("train/d"), folder.path("train/d")).unwrap();
    symlink(
        folder.path("test/a/000.png"),
        folder.path("train/a/link.png"),
    )
    .unwrap();
    let _socket = UnixListener::bind(folder.path("train/a/pipe.png")).unwrap();
    let data = folder.open().unwrap();
    assert_eq!(data.classes, ["a", "b"]);
    assert_eq!(data.train.unwrap().len(), 3);
    let notes = data.notes.join("\n");
    assert_has(
        &notes,
        ": train/c (a link that cannot be followed: No such file",
    );
    assert_has(&notes, ": train/d (a link that cannot be followed: ");
    assert_has(&notes, ": train/a/pipe.png (not a regular file)");
    // A link to a class in one part only explains why the classes differ.
    fs::create_dir(folder.path("test/c")).unwrap();
    let error = folder.error();
    assert_has(&error, "only in test: `c`");
    assert_has(&error, "train/c (a link that cannot be followed");
    // A link with the name of an image is one that cannot be read.
    fs::remove_dir(folder.path("test/c")).unwrap();
    symlink(folder.path("gone"), folder.path("train/a/001.png")).unwrap();
    assert_has(&folder.error(), "1 of 4 image files in ");
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new(&["a", "b"], 1);
    let closed = folder.path("train/b");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Nothing is closed to root.
    if fs::read_dir(&closed).is_err() {
        let error = folder.error();
        assert_has(&error, &format!("cannot read {}: ", closed.display()));
        assert_has(&error, "check the path and its permissions");
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path("train/a/000.png");
    let opened = open(manifest(), &request(Some(&file)));
    assert_has(
        &opened.err().unwrap().to_string(),
        "000.png: not a directory",
    );
}

#[test]
fn class_names_that_look_alike_are_refused() {
    let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
    let folder = Folder::new(&["a", composed, decomposed], 1);
    if fs::read_dir(folder.path("train")).unwrap().count() < 3 {
        // The file system takes both for one name.
        return;
    }
    assert_has(
        &folder.error(),
        r"two class folders whose names look alike: `cafe\u{301}` and `caf\u{e9}`; rename",
    );
    fs::remove_dir_all(folder.path(&format!("train/{composed}"))).unwrap();
    fs::remove_dir_all(folder.path(&format!("test/{decomposed}"))).unwrap();
    let error = folder.error();
    assert_has(
        &error,
        "only in training: `cafe\u{301}`; only in test: `caf\u{e9}`",
    );
    assert_has(&error, r"(`cafe\u{301}` and `caf\u{e9}` look alike");
}

#[cfg(unix)]
#[test]
fn names_are_printed_without_control_characters() {
    let folder = Folder::new(&["a", "b\n\u{1b}[2J"], 1);
    // The name itself is kept, for JSON and checkpoints.
    assert_eq!(folder.open().unwrap().classes[1], "b\n\u{1b}[2J");
    fs::remove_dir_all(folder.path("test/b\n\u{1b}[2J")).unwrap();
    fs::create_dir(folder.path("test/c\t")).unwrap();
    let error = folder.error();
    assert_has(
        &error,
        r"only in training: `b\n\u{1b}[2J`; only in test: `c\t`",
    );
    assert!(!error.contains(char::is_control), "{error:?}");
}

#[test]
fn images_of_other_formats_count_as_unreadable() {
    let folder = Folder::new(&["a", "b"], 1);
    folder.write("train/a/scan", b"II*\0\x08\0\0\0");
    assert_has(&folder.error(), "1 of 3 image files in ");
    assert_has(
        &folder.error(),
        "a/scan: not an image in JPEG, PNG, GIF, BMP or WebP format but in TIFF",
    );
    fs::remove_file(folder.path("train/a/scan")).unwrap();
    folder.write("train/a/drawing.svg", b"<svg/>");
    assert_has(&folder.error(), "a/drawing.svg: not an image in JPEG");
}

/// A thousand classes, twenty thousand images, and for each one a file that is no image: their
/// number shows in no line of output, and opening takes a second or two.
#[test]
fn a_large_folder_is_opened_with_few_words() {
    let folder = Folder::new(&[], 0);
    folder.write("image.png", &plain_png());
    folder.write("damaged.png", &damaged_png());
    for (part, images) in [("train", 20), ("test", 1)] {
        for class in 0..1000 {
            let class = folder.path(&format!("{part}/{class:04}"));
            fs::create_dir_all(&class).unwrap();
            for image in 0..images {
                let file = class.join(format!("{image}.png"));
                fs::hard_link(folder.path("image.png"), file).unwrap();
                fs::write(class.join(format!("{image}.txt")), b"caption").unwrap();
            }
        }
    }
    for class in 0..100 {
        let file = folder.path(&format!("train/{class:04}/7.png"));
        fs::remove_file(&file).unwrap();
        fs::hard_link(folder.path("damaged.png"), &file).unwrap();
    }
    let data = folder.open_within(0).unwrap();
    let train = data.train.unwrap();
    let mut labels = [0; 1000];
    let mut image = [0; 48];
    for index in 0..train.len() {
        train.read(index, None, &mut image).unwrap();
        labels[train.label(index) as usize] += 1;
    }
    assert_eq!((labels, data.test.len()), ([20; 1000], 1000));
    let damaged = (0..train.len()).filter(|index| train.is_damaged(*index));
    assert_eq!(damaged.count(), 100);
    let notes = [data.notes, train.notes()].concat().join("\n");
    assert_has(
        &notes,
        "test/0000/0.txt, test/0001/0.txt, test/0002/0.txt and 20997 more (not an",
    );
    assert_has(&notes, "100 of 20000 image files in ");
    assert_has(&notes, "and 95 more");
    assert!(notes.len() < 2000, "{notes}");
}
