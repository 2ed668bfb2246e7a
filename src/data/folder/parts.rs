//! The training and the test part of a dataset folder, by the names of its folders.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::entries::{EntryKind, NO_PART, entries, note_unusable};
use crate::data::DataError;
use crate::data::unused::Unused;
use crate::text::{name_of, printable, printable_path};

/// How the parts of a dataset are called.
pub(in crate::data) struct Layout {
    /// Names of the test part's folder, as those of [`TRAIN`].
    test: &'static [&'static str],
    /// The missing test part, in error messages.
    wanted: &'static str,
    /// The whole layout, in error messages.
    pub(in crate::data) expected: &'static str,
}

/// Any folder of images.
pub(in crate::data) const FOLDER: Layout = Layout {
    test: TEST,
    wanted: "the folder test or val",
    expected: "expected DIR/train/<class>/<image> and DIR/test/<class>/<image> (or DIR/val), in \
               JPEG, PNG, GIF, BMP or WebP format",
};

/// ImageNet, whose archive of test images has no labels.
pub(in crate::data) const IMAGENET: Layout = Layout {
    test: &["val", "valid", "validation"],
    wanted: "the folder val",
    expected: "expected DIR/train/<class>/<image> and DIR/val/<class>/<image>, with class folders \
               such as n01440764",
};

/// Names of the training part's folder in order of preference, the name that messages propose
/// first. Other case is accepted: the exact name comes first.
const TRAIN: &[&str] = &["train", "training"];
const TEST: &[&str] = &["test", "testing", "val", "valid", "validation"];

/// Whether this is a name of the training part's folder.
pub(in crate::data) fn is_train(name: &OsStr) -> bool {
    TRAIN.iter().any(|train| name.eq_ignore_ascii_case(train))
}

/// Names that probably mean a part, but are not accepted, beside misspellings.
const MAYBE_TEST: &[&str] = &["dev", "eval", "evaluation", "holdout"];

/// The folders of the parts.
pub(super) struct Parts {
    pub(super) train: Option<PathBuf>,
    pub(super) test: PathBuf,
}

/// Finds the parts; a training part is optional unless it is needed.
///
/// # Errors
/// If a part is missing; the error names folders that may have been meant.
pub(super) fn find(
    directory: &Path,
    layout: &Layout,
    need_train: bool,
    unused: &mut Unused,
) -> Result<Parts, DataError> {
    let mut folders = Vec::new();
    for (name, kind) in entries(directory, unused)? {
        match kind {
            EntryKind::Folder => folders.push(name_of(&name)),
            EntryKind::File => unused.add(NO_PART, &directory.join(name)),
            other => note_unusable(&other, &directory.join(name), unused),
        }
    }
    let train = candidates(&folders, TRAIN);
    let test = candidates(&folders, layout.test);
    for (part, found) in [("training", &train), ("test", &test)] {
        let Some((first, others)) = found.split_first() else {
            continue;
        };
        for other in others {
            let reason = format!("the {part} part is {first}");
            unused.add(reason, &directory.join(other));
        }
    }
    let is_no_part = |folder: &&String| !train.contains(folder) && !test.contains(folder);
    for folder in folders.iter().filter(is_no_part) {
        unused.add(NO_PART, &directory.join(folder));
    }
    let mut missing = Vec::new();
    if need_train && train.is_empty() {
        let meant = meant(&folders, TRAIN, &[]);
        missing.push(format!("the folder train{meant}"));
    }
    if test.is_empty() {
        let meant = meant(&folders, layout.test, MAYBE_TEST);
        missing.push(format!("{}{meant}", layout.wanted));
    }
    let path = |found: &[&String]| found.first().map(|name| directory.join(name));
    match path(&test) {
        Some(test) if missing.is_empty() => Ok(Parts {
            train: path(&train),
            test,
        }),
        _ => Err(DataError::MissingEntries {
            path: directory.to_path_buf(),
            missing,
            expected: format!("{}{}", layout.expected, elsewhere(directory, &folders)),
        }),
    }
}

/// The folders that have one of the names, the preferred one first.
fn candidates<'a>(folders: &'a [String], names: &[&str]) -> Vec<&'a String> {
    let mut found: Vec<(usize, bool, &String)> = Vec::new();
    for folder in folders {
        let same = |name: &&str| folder.eq_ignore_ascii_case(name);
        if let Some(rank) = names.iter().position(same) {
            found.push((rank, folder != names[rank], folder));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(.., folder)| folder).collect()
}

/// Folders that may be the missing part, as an addition to a message.
fn meant(folders: &[String], names: &[&str], others: &[&str]) -> String {
    let is_near = |folder: &&String| {
        let lower = folder.to_lowercase();
        let misspells = |name: &&str| {
            let distance = strsim::damerau_levenshtein(&lower, name);
            let close = lower.starts_with(&name[..1]) && distance <= name.len() / 3;
            close || lower.starts_with(name)
        };
        names.iter().any(misspells) || others.contains(&lower.as_str())
    };
    match folders.iter().find(is_near) {
        Some(folder) => {
            let folder = printable(folder);
            format!(" (there is {folder}: rename it to {})", names[0])
        }
        None => String::new(),
    }
}

/// Where the parts are instead, as an addition to a message: one level up or down.
fn elsewhere(directory: &Path, folders: &[String]) -> String {
    let holds_train = |directory: &Path| TRAIN.iter().any(|name| directory.join(name).is_dir());
    let above = directory.parent().filter(|above| {
        let name = directory.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| [TRAIN, TEST].concat().contains(&name)) && holds_train(above)
    });
    let below = folders.iter().map(|folder| directory.join(folder));
    let found = above
        .map(Path::to_path_buf)
        .or_else(|| below.into_iter().find(|below| holds_train(below)));
    match found {
        Some(found) => format!("; {} has them: give that directory", printable_path(&found)),
        None => String::new(),
    }
}
