//! Listings from the cache: what makes them outdated, and what they are not trusted with.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::sync::{Arc, Mutex};

use super::super::tests::{Folder, colours};
use super::super::{Dataset, open_within};
use super::*;
use crate::data::{Augmentation, Cache, DatasetKind, Resize};

/// A cache in memory that counts what is written.
#[derive(Default)]
struct Memory {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    writes: Mutex<usize>,
}

impl Cache for Memory {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.files.lock().unwrap().get(name).cloned()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        *self.writes.lock().unwrap() += 1;
        self.files
            .lock()
            .unwrap()
            .insert(name.to_owned(), bytes.to_vec());
    }
}

/// A folder with a cache.
struct Place {
    folder: Folder,
    cache: Arc<Memory>,
    /// When its directories were made, an hour ago.
    made: SystemTime,
}

impl Place {
    fn new(images: usize) -> Place {
        let place = Place {
            folder: Folder::new(&["a", "b"], images),
            cache: Arc::default(),
            made: SystemTime::now() - Duration::from_secs(3600),
        };
        fs::write(place.folder.path("train/b/notes.txt"), b"soon").unwrap();
        for below in [
            "", "train", "train/a", "train/b", "test", "test/a", "test/b",
        ] {
            place.changed(below, 0);
        }
        place
    }

    /// Lets a directory have changed so many seconds after it was made.
    fn changed(&self, below: &str, seconds: u64) {
        let directory = File::open(self.folder.path(below)).unwrap();
        let time = self.made + Duration::from_secs(seconds);
        directory.set_modified(time).unwrap();
    }

    fn open_within(&self, limit: u64) -> Dataset {
        let request = Request {
            kind: DatasetKind::Folder,
            dir: Some(self.folder.path("")),
            resize: Resize::whole(4),
            need_train: true,
            augmentation: Augmentation::default(),
            cache: Some(self.cache.clone()),
        };
        open_within(DatasetKind::Folder.manifest(), &request, limit).unwrap()
    }

    /// Number of training and test images, and how often a listing has been written.
    fn open(&self) -> (usize, usize, usize) {
        let data = self.open_within(0);
        let writes = *self.cache.writes.lock().unwrap();
        (data.train.unwrap().len(), data.test.len(), writes)
    }
}

#[test]
fn a_listing_is_used_until_a_directory_changes() {
    let place = Place::new(10);
    assert_eq!(place.open(), (20, 20, 1));
    let png = fs::read(place.folder.path("train/a/000.png")).unwrap();
    fs::write(place.folder.path("train/b/new.png"), &png).unwrap();
    place.changed("train/b", 0);
    assert_eq!(place.open(), (20, 20, 1), "it is used, whatever lies there");
    place.changed("train/b", 1);
    assert_eq!(place.open(), (21, 20, 2));
    fs::remove_file(place.folder.path("test/a/003.png")).unwrap();
    // A directory that has just changed may change again within the same tick of its clock.
    assert_eq!(place.open(), (21, 19, 2));
    place.changed("test/a", 1);
    assert_eq!(place.open(), (21, 19, 3));
    assert_eq!(place.open(), (21, 19, 3));
    for part in ["train", "test"] {
        let class = place.folder.path(&format!("{part}/c"));
        fs::rename(place.folder.path(&format!("{part}/a")), class).unwrap();
        place.changed(part, 1);
    }
    let data = place.open_within(0);
    assert_eq!(data.classes, ["b", "c"]);
}

#[test]
fn what_is_restored_is_what_was_listed() {
    let place = Place::new(10);
    let look = || {
        let data = place.open_within(0);
        let pixels = [&data.train.unwrap(), &data.test].map(|part| colours(&**part));
        (data.classes, pixels, data.folders, data.notes)
    };
    let listed = look();
    assert!(
        listed.3.join("").contains("train/b/notes.txt"),
        "{:?}",
        listed.3
    );
    assert_eq!(look(), listed);
    assert_eq!(*place.cache.writes.lock().unwrap(), 1);
}

#[test]
fn a_damaged_file_is_written_again() {
    let place = Place::new(10);
    assert_eq!(place.open(), (20, 20, 1));
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        for file in place.cache.files.lock().unwrap().values_mut() {
            change(file);
        }
    };
    change(&|bytes| bytes.truncate(bytes.len() / 2));
    assert_eq!(place.open(), (20, 20, 2));
    change(&|bytes| bytes.clear());
    assert_eq!(place.open(), (20, 20, 3));
    // The listing of another directory, as after a collision of names.
    change(&|bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let here = place.folder.path("").canonicalize().unwrap();
        let text = text.replace(here.to_str().unwrap().trim_end_matches('/'), "/elsewhere");
        *bytes = text.into_bytes();
    });
    assert_eq!(place.open(), (20, 20, 4));
    assert_eq!(place.open(), (20, 20, 4));
}

/// A directory whose time was set back: the file that is gone is unreadable.
#[test]
fn a_file_that_is_gone_is_unreadable() {
    let place = Place::new(50);
    place.open();
    fs::remove_file(place.folder.path("train/a/004.png")).unwrap();
    place.changed("train/a", 0);
    let train = place.open_within(0).train.unwrap();
    assert_eq!(train.len(), 100);
    assert_eq!(colours(&*train)[4], ([0, 5, 9], 0));
    let notes = train.notes().join("");
    assert!(notes.contains("a/004.png: cannot be read: "), "{notes}");
}

#[test]
fn a_small_folder_is_not_cached() {
    let place = Place::new(2);
    place.open();
    assert_eq!(*place.cache.writes.lock().unwrap(), 0);
}
