//! CIFAR-10 and CIFAR-100 in their published binary form.
//!
//! A file is a sequence of records of fixed length: one label byte (CIFAR-100: the coarse label,
//! then the fine one, which is used), then 32 x 32 red, green and blue bytes, each plane row by
//! row. The planes are interleaved into pixels when read.
//! Sizes and names of the files come from the manifest; sizes and labels are checked, because
//! incomplete downloads are common. Other files of records beside them are noted. Archives are not
//! unpacked.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::images::Images;
use super::manifest::{Manifest, Published, RecordFile};
use super::unused::Unused;
use super::{DataError, Dataset, Request};
use crate::files;

/// Rows and columns of an image.
const SIZE: u32 = 32;

/// Bytes of one colour plane.
const PLANE: usize = (SIZE * SIZE) as usize;

/// Opens the dataset that `manifest` describes.
///
/// The files are looked for in the requested directory and in the folder that unpacking the
/// archive creates there.
///
/// # Panics
/// If the manifest lists no published files, or no constants.
pub(super) fn open(manifest: Manifest, request: &Request) -> Result<Dataset, DataError> {
    let Manifest {
        title,
        constants,
        published,
        ..
    } = manifest;
    let published = published.expect("the manifest lists files of records");
    let constants = constants.expect("the manifest has constants");
    let directory = locate(&title, &published, request)?;
    let part = |files: &[RecordFile]| -> Result<_, DataError> {
        let images = read_files(&title, &published, &directory, files)?;
        Ok(images.resized(request.resize))
    };
    let train = match request.need_train {
        true => Some(part(&published.train)?),
        false => None,
    };
    let test = part(&published.test)?;
    Ok(Dataset {
        train,
        test,
        folders: Vec::new(),
        notes: unused_records(&title, &published, &directory)?,
        classes: published.classes,
        mean: constants.mean,
        std: constants.std,
    })
}

/// The directory that holds all files needed.
fn locate(title: &str, published: &Published, request: &Request) -> Result<PathBuf, DataError> {
    let directory =
        request.directory(title.to_string(), &expected(request.kind.name(), published))?;
    let train = published.train.iter().filter(|_| request.need_train);
    let needed: Vec<&str> = train
        .chain(&published.test)
        .map(|f| f.name.as_str())
        .collect();
    let missing_in = |folder: &Path| -> Vec<String> {
        let missing = needed.iter().filter(|name| !folder.join(name).is_file());
        missing.map(|name| name.to_string()).collect()
    };
    // If both are incomplete, the message is about the more complete one.
    let unpacked = directory.join(&published.folder);
    let candidates = [directory.to_path_buf(), unpacked];
    let searched = candidates.map(|folder| (missing_in(&folder), folder));
    let [(first, given), (second, unpacked)] = searched;
    let (missing, folder) = match second.len() < first.len() {
        true => (second, unpacked),
        false => (first, given),
    };
    match missing.is_empty() {
        true => Ok(folder),
        false => Err(DataError::MissingEntries {
            path: folder,
            missing,
            expected: expected(request.kind.name(), published),
        }),
    }
}

/// A note on files of records that do not belong to the dataset, if there are any.
fn unused_records(
    title: &str,
    published: &Published,
    directory: &Path,
) -> Result<Vec<String>, DataError> {
    let io = |source| DataError::Io {
        path: directory.to_path_buf(),
        source,
    };
    let files = published.train.iter().chain(&published.test);
    let known: Vec<&str> = files.map(|file| file.name.as_str()).collect();
    let mut unused = Unused::new(directory);
    for entry in fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let is_record_file = path.extension().is_some_and(|extension| extension == "bin");
        let name = path.file_name().and_then(OsStr::to_str);
        if is_record_file && !name.is_some_and(|name| known.contains(&name)) {
            unused.add(format!("not a file of {title}"), &path);
        }
    }
    Ok(unused.notes())
}

/// Where the files come from and what they are, for an error message.
fn expected(name: &str, published: &Published) -> String {
    let files = published.train.iter().chain(&published.test);
    let files: Vec<String> = files
        .map(|file| format!("{} ({} bytes)", file.name, file.bytes))
        .collect();
    let archive = &published.archive;
    format!(
        "`pyr-wgpu data get {name}` downloads it; or get the binary version and unpack it into DIR\n\
         archive:   {}, {} bytes\n\
         checksums: md5 {}\n           sha256 {}\n\
         layout:    in DIR or DIR/{}: {}",
        archive.urls[0],
        archive.bytes,
        archive.md5,
        archive.sha256,
        published.folder,
        files.join(", ")
    )
}

/// Reads files of records one after another.
fn read_files(
    title: &str,
    published: &Published,
    directory: &Path,
    files: &[RecordFile],
) -> Result<Images, DataError> {
    let record = published.label_bytes + 3 * PLANE;
    let mut bytes = Vec::new();
    let mut labels = Vec::new();
    for file in files {
        let path = directory.join(&file.name);
        let io = |source| DataError::Io {
            path: path.clone(),
            source,
        };
        // A file is read only if its length is right.
        let (_, found) = files::open(&path).map_err(io)?;
        let content = match found == file.bytes {
            true => files::read(&path, found).map_err(io)?,
            false => Vec::new(),
        };
        if content.len() as u64 != file.bytes {
            return Err(DataError::FileSize {
                path,
                found,
                expected: file.bytes,
                records: file.bytes / record as u64,
                record: record as u64,
            });
        }
        let read = read_records(title, published, &content, &mut bytes, &mut labels);
        read.map_err(|error| error.in_file(path))?;
    }
    Ok(Images::new(SIZE, bytes, labels))
}

/// Appends the images of a file of whole records, 32 x 32 pixels of bytes R, G, B each, and their
/// labels; `title` is the name of the dataset.
///
/// # Errors
/// [`DataError::Label`] if a label is not that of a class.
pub fn read_records(
    title: &str,
    published: &Published,
    content: &[u8],
    images: &mut Vec<u8>,
    labels: &mut Vec<u32>,
) -> Result<(), DataError> {
    images.reserve(content.len());
    let records = content.chunks_exact(published.label_bytes + 3 * PLANE);
    for (index, record) in records.enumerate() {
        let (label_bytes, planes) = record.split_at(published.label_bytes);
        let label = label_bytes[label_bytes.len() - 1];
        if usize::from(label) >= published.classes.len() {
            return Err(DataError::Label {
                record: index,
                label,
                title: title.to_string(),
                classes: published.classes.len(),
            });
        }
        labels.push(u32::from(label));
        for pixel in 0..PLANE {
            images.extend([0, 1, 2].map(|plane| planes[plane * PLANE + pixel]));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
