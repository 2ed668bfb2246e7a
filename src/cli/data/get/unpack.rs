//! Unpacks the files of records of a dataset from its archive.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::{Archive, EntryType};

use crate::data::{Published, RecordFile};
use crate::text::printable_path;

/// Why an archive cannot be unpacked.
#[derive(Debug)]
pub(super) enum UnpackError {
    /// The archive is not what was published.
    Archive(String),
    /// A file cannot be written.
    Write(PathBuf, io::Error),
}

/// Unpacks the published files into the published folder of a directory. They appear there when all
/// are complete; other entries of the archive are left out.
///
/// # Errors
/// If the archive is damaged, lacks a file or has one of another length or an entry outside itself,
/// or if a file cannot be written. The folder is then as it was.
pub(super) fn unpack(
    archive: &Path,
    published: &Published,
    directory: &Path,
) -> Result<PathBuf, UnpackError> {
    let folder = directory.join(&published.folder);
    let temporary = directory.join(format!(".pyr-wgpu-{}.tmp", published.folder));
    let unpacked = begin(&temporary)
        .and_then(|()| extract(archive, published, &temporary))
        .and_then(|()| place(published, &temporary, &folder));
    if unpacked.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_dir_all(&temporary);
    }
    unpacked.map(|()| folder)
}

/// Creates an empty folder in place of what a killed process may have left.
fn begin(temporary: &Path) -> Result<(), UnpackError> {
    match fs::remove_dir_all(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir(temporary),
    }
    .map_err(|error| UnpackError::Write(temporary.to_owned(), error))
}

/// Writes the published files of the archive.
fn extract(archive: &Path, published: &Published, into: &Path) -> Result<(), UnpackError> {
    let damaged = |error: io::Error| UnpackError::Archive(error.to_string());
    let file = File::open(archive).map_err(damaged)?;
    let mut entries = Archive::new(GzDecoder::new(BufReader::new(file)));
    let mut missing: Vec<&RecordFile> = published.train.iter().chain(&published.test).collect();
    for entry in entries.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let outside = |part| !matches!(part, Component::Normal(_) | Component::CurDir);
        if path.components().any(outside) {
            return Err(UnpackError::Archive(format!(
                "its entry {} leads out of the directory",
                printable_path(&path)
            )));
        }
        let wanted = |file: &&RecordFile| path == Path::new(&published.folder).join(&file.name);
        let Some(position) = missing.iter().position(wanted) else {
            continue;
        };
        let RecordFile { name, bytes } = missing.swap_remove(position);
        if entry.header().entry_type() != EntryType::Regular || entry.size() != *bytes {
            return Err(UnpackError::Archive(format!(
                "its entry {} is not a file of {bytes} bytes",
                printable_path(&path)
            )));
        }
        copy(&mut entry, &into.join(name))?;
    }
    match missing.first() {
        None => Ok(()),
        Some(file) => Err(UnpackError::Archive(format!("it lacks {}", file.name))),
    }
}

/// Writes an entry to a file.
fn copy(entry: &mut dyn Read, path: &Path) -> Result<(), UnpackError> {
    let unwritten = |error| UnpackError::Write(path.to_owned(), error);
    let mut file = File::create(path).map_err(unwritten)?;
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = entry.read(&mut chunk);
        match read.map_err(|error| UnpackError::Archive(error.to_string()))? {
            0 => return file.sync_all().map_err(unwritten),
            read => io::Write::write_all(&mut file, &chunk[..read]).map_err(unwritten)?,
        }
    }
}

/// Moves the files to their folder.
fn place(published: &Published, from: &Path, folder: &Path) -> Result<(), UnpackError> {
    let unwritten = |error| UnpackError::Write(folder.to_owned(), error);
    if !folder.exists() {
        return fs::rename(from, folder).map_err(unwritten);
    }
    for file in published.train.iter().chain(&published.test) {
        fs::rename(from.join(&file.name), folder.join(&file.name)).map_err(unwritten)?;
    }
    fs::remove_dir(from).map_err(unwritten)
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, Header};

    use super::*;
    use crate::data::DatasetKind;

    /// Two files of 3 and 4 bytes.
    fn published() -> Published {
        let mut published = DatasetKind::Cifar10.manifest().published.unwrap();
        let file = |name: &str, bytes| RecordFile {
            name: name.to_owned(),
            bytes,
        };
        published.train = vec![file("train.bin", 3)];
        published.test = vec![file("test.bin", 4)];
        published
    }

    /// Name, kind and content.
    type Entry<'a> = (&'a str, EntryType, &'a [u8]);

    /// An archive of entries, with their names as they are.
    fn write(path: &Path, entries: &[Entry<'_>]) {
        let file = File::create(path).unwrap();
        let mut builder = Builder::new(GzEncoder::new(file, Compression::fast()));
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
    }

    const TRAIN: &str = "cifar-10-batches-bin/train.bin";
    const TEST: &str = "cifar-10-batches-bin/test.bin";

    #[test]
    fn the_published_files_are_unpacked() {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("a.tar.gz");
        let file = EntryType::Regular;
        let entries = [
            ("cifar-10-batches-bin/readme.html", file, &b"<p>"[..]),
            (TRAIN, file, b"abc"),
            (TEST, file, b"defg"),
        ];
        write(&archive, &entries);
        for _ in 0..2 {
            let folder = unpack(&archive, &published(), directory.path()).unwrap();
            assert_eq!(fs::read(folder.join("train.bin")).unwrap(), b"abc");
            assert_eq!(fs::read(folder.join("test.bin")).unwrap(), b"defg");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
            // Damage is repaired.
            fs::write(folder.join("train.bin"), b"a").unwrap();
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn other_archives_leave_nothing() {
        let file = EntryType::Regular;
        let cases: [(&[Entry<'_>], &str); 6] = [
            (&[("../train.bin", file, b"abc")], "leads out"),
            (&[("/etc/train.bin", file, b"abc")], "leads out"),
            (&[("cifar-10-batches-bin/../../x", file, b"")], "leads out"),
            (&[(TRAIN, file, b"abc")], "lacks test.bin"),
            (&[(TRAIN, file, b"abcd")], "3 bytes"),
            (&[(TRAIN, EntryType::Symlink, b"")], "3 bytes"),
        ];
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("a.tar.gz");
        let fails = |expected: &str| {
            match unpack(&archive, &published(), directory.path()) {
                Err(UnpackError::Archive(text)) => assert!(text.contains(expected), "{text}"),
                other => panic!("{expected}: {other:?}"),
            }
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        };
        for (entries, expected) in cases {
            write(&archive, entries);
            fails(expected);
        }
        let bytes = fs::read(&archive).unwrap();
        fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
        fails("");
        fs::write(&archive, b"no archive").unwrap();
        fails("gzip");
    }
}
