//! Image files that cannot be read: skipped where images are decoded at once, else replaced.

use super::*;

#[test]
fn a_hundredth_of_the_files_may_be_unreadable() {
    let folder = Folder::new(&["a", "b"], 50);
    folder.write("train/a/010.png", b"no image");
    folder.write("train/a/notes.txt", b"no image");
    let data = folder.open().unwrap();
    let train = data.train.unwrap();
    assert_eq!(train.len(), 99);
    // Images after the gap have moved up, with their labels.
    let found = colours(&*train);
    assert_eq!(found[10], ([0, 11, 9], 0));
    assert_eq!(found[49], ([50, 0, 9], 1));
    let notes = data.notes.join("\n");
    assert_has(&notes, "1 of 100 image files in ");
    assert_has(
        &notes,
        "cannot be read and are skipped: a/010.png: not an image in JPEG",
    );
    // A large folder's files are opened when they are read, first to measure mean and deviation.
    let data = folder.open_within(0).unwrap();
    let train = data.train.unwrap();
    assert_eq!((train.len(), train.notes().len()), (100, 1));
    assert_eq!(colours(&*train)[10], ([0, 11, 9], 0));
    assert_has(
        &train.notes().join(""),
        "replaced by others of their class: a/010.png: not",
    );
    folder.write("train/b/011.png", b"");
    for limit in [HOST_LIMIT, 0] {
        let error = folder.open_within(limit).err().unwrap().to_string();
        assert_has(&error, "2 of 100 image files in ");
        assert_has(&error, "b/011.png: the file is empty");
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
    let damaged: Vec<usize> = (0..100).filter(|index| train.is_damaged(*index)).collect();
    assert_eq!(damaged, [49]);
    assert_has(&train.notes().join(""), "a/049.png: damaged PNG image");
    assert_eq!(train.notes().len(), 1);
    assert_eq!(colours(&*train)[49], found[49]);

    folder.write("train/b/000.png", &damaged_png());
    let error = train.read(50, None, &mut [0; 48]).unwrap_err().to_string();
    assert_has(&error, "2 of 100 image files in ");
}

#[test]
fn many_unreadable_files_are_counted_and_a_few_are_named() {
    let folder = Folder::new(&["a", "b"], 10);
    for number in 0..8 {
        folder.write(&format!("test/b/{number:03}.png"), &damaged_png());
    }
    let error = folder.error();
    assert_has(&error, "8 of 20 image files in ");
    assert_has(&error, "b/004.png: damaged PNG image");
    assert_has(&error, "again and 3 more");
}
