//! What lies in the directories of a dataset folder, and the list of what is not used.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::data::DataError;
use crate::data::names::printable_path;

/// How many entries that are not used a note names, for each reason.
const NAMED: usize = 3;

/// What an entry of a directory is, symbolic links followed.
pub(super) enum Kind {
    Folder,
    File,
    /// A pipe, a socket or a device, which reading could block.
    Special,
    /// A link that cannot be followed.
    BrokenLink(std::io::Error),
}

/// The entries of a directory, in byte-wise order of their names. Hidden ones are not used.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn entries(
    directory: &Path,
    unused: &mut Unused,
) -> Result<Vec<(OsString, Kind)>, DataError> {
    let io = |source| DataError::Io {
        path: directory.to_path_buf(),
        source,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            unused.add(HIDDEN, &entry.path());
            continue;
        }
        let mut file_type = Ok(entry.file_type().map_err(io)?);
        // Only a symbolic link needs another system call.
        if file_type.as_ref().is_ok_and(fs::FileType::is_symlink) {
            file_type = fs::metadata(entry.path()).map(|target| target.file_type());
        }
        let kind = match file_type {
            Ok(kind) if kind.is_dir() => Kind::Folder,
            Ok(kind) if kind.is_file() => Kind::File,
            Ok(_) => Kind::Special,
            Err(error) => Kind::BrokenLink(error),
        };
        entries.push((name, kind));
    }
    entries.sort_unstable_by(|(a, _), (b, _)| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    Ok(entries)
}

/// Why an entry is not used.
const HIDDEN: &str = "the name begins with a dot";
pub(super) const NOT_A_PICTURE: &str = "not an image by name or content";
pub(super) const NESTED: &str =
    "a folder in a class folder; not searched, images belong directly into the class folder";
pub(super) const LOOSE: &str = "not in a class folder";
pub(super) const NO_PART: &str = "neither the training nor the test part";
const SPECIAL: &str = "not a regular file";

/// The entries of a dataset folder that are not used, counted by reason.
pub(super) struct Unused {
    directory: PathBuf,
    groups: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    count: usize,
    /// The first few in order, so that a note does not depend on the order of reading.
    named: BTreeSet<PathBuf>,
}

impl Unused {
    pub(super) fn new(directory: &Path) -> Unused {
        Unused {
            directory: directory.to_path_buf(),
            groups: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, reason: impl Into<String>, path: &Path) {
        let group = self.groups.entry(reason.into()).or_default();
        group.count += 1;
        group.named.insert(path.to_path_buf());
        if group.named.len() > NAMED {
            group.named.pop_last();
        }
    }

    /// Adds an entry that is of no use whatever its place: neither a file nor a folder.
    pub(super) fn add_odd(&mut self, kind: &Kind, path: &Path) {
        match kind {
            Kind::BrokenLink(error) => self.add(format!("a link that leads nowhere: {error}"), path),
            Kind::Special => self.add(SPECIAL, path),
            Kind::Folder | Kind::File => {}
        }
    }

    /// A note for each reason.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = |(reason, group): (&String, &Group)| {
            let named = group.named.iter().map(|path| {
                let below = path.strip_prefix(&self.directory).unwrap_or(path);
                printable_path(below)
            });
            let named: Vec<String> = named.collect();
            let more = match group.count - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let directory = printable_path(&self.directory);
            let named = named.join(", ");
            format!("not used in {directory}: {named}{more} ({reason})")
        };
        self.groups.iter().map(note).collect()
    }

    /// The error with a list of what is not used, which often explains it.
    pub(super) fn attach(&self, error: DataError) -> DataError {
        match self.groups.is_empty() {
            true => error,
            false => DataError::WithUnused {
                source: Box::new(error),
                unused: self.notes().join("; "),
            },
        }
    }
}
