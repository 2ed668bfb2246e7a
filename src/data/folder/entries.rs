//! What lies in the directories of a dataset folder.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use crate::data::DataError;
use crate::data::unused::Unused;

/// What an entry of a directory is, symbolic links followed.
pub(super) enum EntryKind {
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
) -> Result<Vec<(OsString, EntryKind)>, DataError> {
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
            Ok(kind) if kind.is_dir() => EntryKind::Folder,
            Ok(kind) if kind.is_file() => EntryKind::File,
            Ok(_) => EntryKind::Special,
            Err(error) => EntryKind::BrokenLink(error),
        };
        entries.push((name, kind));
    }
    entries.sort_unstable_by(|(a, _), (b, _)| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
    Ok(entries)
}

/// Why an entry is not used.
const HIDDEN: &str = "the name begins with a dot";
pub(super) const NOT_AN_IMAGE: &str = "not an image by name or content";
pub(super) const NOT_NAMED_AS_IMAGE: &str = "not an image by name; contents of a folder too large for the memory are not searched for images";
pub(super) const NESTED: &str =
    "a folder in a class folder; not searched, images belong directly into the class folder";
pub(super) const OUTSIDE_CLASSES: &str = "not in a class folder";
pub(super) const NO_PART: &str = "neither the training nor the test part";
const SPECIAL: &str = "not a regular file";

/// Notes an entry that is of no use whatever its place: neither a file nor a folder.
pub(super) fn note_unusable(kind: &EntryKind, path: &Path, unused: &mut Unused) {
    match kind {
        EntryKind::BrokenLink(error) => {
            unused.add(format!("a link that cannot be followed: {error}"), path)
        }
        EntryKind::Special => unused.add(SPECIAL, path),
        EntryKind::Folder | EntryKind::File => {}
    }
}
