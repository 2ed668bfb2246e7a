//! Errors of datasets and images; the messages name the next step.

use std::path::PathBuf;

use thiserror::Error;

use crate::memory::OutOfMemory;
use crate::text::{first_few, printable, printable_path};

/// Everything that can go wrong between a data directory and a batch.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// No dataset has this name.
    #[error("unknown dataset `{}`; there are {known}", printable(name))]
    UnknownDataset {
        /// The requested name.
        name: String,
        /// Every name.
        known: String,
    },

    /// A dataset of files was requested without its directory.
    #[error("the dataset {title} needs a directory: give it with --data DIR; {expected}")]
    NoDirectory {
        /// The dataset.
        title: String,
        /// Which files belong there, and where they come from.
        expected: String,
    },

    /// The directory does not exist, or is a file.
    #[error("no directory {}; {expected}", printable_path(path))]
    MissingDirectory {
        /// The requested directory.
        path: PathBuf,
        /// Which files belong there, and where they come from.
        expected: String,
    },

    /// The directory lacks files or folders that are needed.
    #[error("{} lacks {}; {expected}", printable_path(path), missing.join(", "))]
    MissingEntries {
        /// The directory.
        path: PathBuf,
        /// Names of the missing files or folders.
        missing: Vec<String>,
        /// Which files belong there, and where they come from.
        expected: String,
    },

    /// The operating system cannot read a file or folder.
    #[error(
        "cannot read {}: {source}; check the path and its permissions",
        printable_path(path)
    )]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },

    /// A file of records is truncated or too long.
    #[error(
        "{} is {found} bytes long but should have {expected} ({records} records of {record} \
         bytes): it is {}; fetch and unpack the archive again",
        printable_path(path),
        if found < expected { "truncated" } else { "too long" }
    )]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// The bytes it should have.
        expected: u64,
        /// How many records it should have.
        records: u64,
        /// Bytes of a record.
        record: u64,
    },

    /// The label of a record is out of range.
    #[error(
        "record {record} (counted from 0) has the label {label}, but {title} has the labels 0 to \
         {}; the file is damaged or of another dataset, fetch it again",
        classes - 1
    )]
    Label {
        /// Index of the record, from 0.
        record: usize,
        /// The label found.
        label: u8,
        /// The dataset.
        title: String,
        /// How many classes it has.
        classes: usize,
    },

    /// A classifier needs at least two classes.
    #[error(
        "{} has {} (a class is a folder with images); put the images of at least two \
         classes into a folder each",
        printable_path(path),
        match class {
            Some(class) => format!("only the class `{}`", printable(class)),
            None => "no class".to_string(),
        }
    )]
    TooFewClasses {
        /// The folder of classes.
        path: PathBuf,
        /// The only class, if there is one.
        class: Option<String>,
    },

    /// A class has no readable image.
    #[error(
        "the class folder {} has no readable image{}; add images (JPEG, PNG, GIF, BMP or \
         WebP) or remove the folder",
        printable_path(path),
        match first { Some(first) => format!(" (first unreadable file: {first})"), None => String::new() }
    )]
    ClassWithoutImages {
        /// The folder of the class.
        path: PathBuf,
        /// The first file that could not be read, and why.
        first: Option<String>,
    },

    /// The training and the test part do not have the same classes.
    #[error(
        "the classes of {} and {} differ: {}; both parts need the same class folders{}",
        printable_path(train),
        printable_path(test),
        difference(only_train, only_test),
        match alike.as_deref() {
            Some([train, test]) => format!(
                " (`{train}` and `{test}` look alike but are spelled with different Unicode \
                 characters: rename one)"
            ),
            None => String::new(),
        }
    )]
    ClassesDiffer {
        /// The folder of the training part.
        train: PathBuf,
        /// The folder of the test part.
        test: PathBuf,
        /// Classes that only the training part has.
        only_train: Vec<String>,
        /// Classes that only the test part has.
        only_test: Vec<String>,
        /// A class of each that look alike, spelled apart.
        alike: Option<Box<[String; 2]>>,
    },

    /// A part of ImageNet whose images are in no class folders, as its archive unpacks.
    #[error(
        "{} has no class folders, as after unpacking the archive; {how}",
        printable_path(path)
    )]
    NotSorted {
        /// The folder of the part.
        path: PathBuf,
        /// How to sort its images into class folders.
        how: &'static str,
    },

    /// A class folder whose name a list of classes lacks.
    #[error(
        "{} does not list the class folder `{}`; rename the folder to its WordNet id, such as \
         n01440764, or remove the list, and classes are named by their folders",
        printable_path(path),
        printable(class)
    )]
    UnlistedClass {
        /// The list.
        path: PathBuf,
        /// The name of the folder.
        class: String,
    },

    /// Two class folders of a part have names that look alike.
    #[error(
        "{} has two class folders whose names look alike: `{}` and `{}`; rename one of them, or \
         merge them",
        printable_path(path),
        names[0],
        names[1]
    )]
    ClassesAlike {
        /// The folder of the part.
        path: PathBuf,
        /// Their names, spelled apart.
        names: [String; 2],
    },

    /// More than 1 % of the image files are unreadable.
    #[error(
        "{unreadable} of {files} image files in {} cannot be read, more than 1 %; repair or remove \
         them: {listed}",
        printable_path(path)
    )]
    TooManyUnreadable {
        /// The folder of the part.
        path: PathBuf,
        /// How many files could not be read.
        unreadable: usize,
        /// How many image files there are.
        files: usize,
        /// The first of them, each with the reason.
        listed: String,
    },

    /// An image file without content.
    #[error("the file is empty; copy or download it again")]
    EmptyImage,

    /// Pixels that do not match their extents.
    #[error(
        "{bytes} bytes are not an image of {width} x {height} pixels; give three for each of at \
         least one pixel"
    )]
    PixelCount {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// The bytes given.
        bytes: usize,
    },

    /// The content is of no supported format.
    #[error("not an image in JPEG, PNG, GIF, BMP or WebP format; convert or remove it")]
    NotAnImage,

    /// The content is an image of a format that is not supported.
    #[error("not an image in JPEG, PNG, GIF, BMP or WebP format but in {format}; convert it")]
    UnreadFormat {
        /// The format by the first bytes.
        format: &'static str,
    },

    /// The content starts like an image but cannot be decoded.
    #[error("damaged {format} image: {reason}; copy or download it again")]
    DamagedImage {
        /// The format by the first bytes.
        format: &'static str,
        /// The decoder's error.
        reason: String,
    },

    /// The content is of a supported format, in a kind that is not read.
    #[error("{format} image with {feature}, which is not supported; save it again as PNG")]
    UnsupportedImage {
        /// The format by the first bytes.
        format: &'static str,
        /// What is unusual about it.
        feature: String,
    },

    /// Decoding would take too much memory.
    #[error(
        "an image of {width} x {height} is too large to decode: it may take {} MiB, and the limit \
         is {} MiB; make it smaller",
        memory.div_ceil(1 << 20),
        limit >> 20
    )]
    ImageTooLarge {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// The bytes it may take.
        memory: u64,
        /// The bytes that decoding may take.
        limit: u64,
    },

    /// The path of an image leads to something else than a file.
    #[error("it is {kind}, not a file; give an image file")]
    NotAFile {
        /// What it is.
        kind: &'static str,
    },

    /// A file is too large to be read whole.
    #[error("{bytes} bytes are too large for an image file, the limit is {limit}; make it smaller")]
    FileTooLarge {
        /// Its bytes.
        bytes: u64,
        /// The bytes it may have.
        limit: u64,
    },

    /// Images do not fit the memory.
    #[error("{0}; free some, or use smaller or fewer images")]
    Memory(OutOfMemory),

    /// The operating system cannot read an image file.
    #[error("cannot be read: {source}; check the path and its permissions")]
    UnreadableFile {
        /// The operating system's error.
        source: std::io::Error,
    },

    /// One of the above, in a directory with entries that are not used.
    #[error("{source}; {unused}")]
    WithUnused {
        /// What is wrong.
        source: Box<DataError>,
        /// Which entries are not used, and why.
        unused: String,
    },

    /// One of the above, in a file.
    #[error("{}: {source}", printable_path(path))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<DataError>,
    },

    /// The thread that prepared a batch panicked, which is a bug.
    #[error("a thread that prepares batches panicked: {message}; this is a bug, please report it")]
    Worker {
        /// The panic message.
        message: String,
    },
}

impl DataError {
    /// The same error with the path of the file.
    pub fn in_file(self, path: impl Into<PathBuf>) -> DataError {
        DataError::File {
            path: path.into(),
            source: Box::new(self),
        }
    }
}

/// Names a few of the classes that only one part has.
fn difference(only_train: &[String], only_test: &[String]) -> String {
    let part = |classes: &[String], part: &str| match classes.len() {
        0 => None,
        count => {
            let named: Vec<_> = classes
                .iter()
                .take(5)
                .map(|c| format!("`{}`", printable(c)))
                .collect();
            Some(format!("only in {part}: {}", first_few(&named, count)))
        }
    };
    let parts = [part(only_train, "training"), part(only_test, "test")];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
