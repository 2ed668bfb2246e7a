//! Image files by their path, natively only.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use image::RgbImage;

use super::budget::Budget;
use super::{DataError, LARGEST_FILE, Resize, decode};
use crate::memory::{self, OutOfMemory};

/// Bytes of the files that are in memory at the same time.
static FILES: Budget = Budget::new(LARGEST_FILE);

/// Bytes that [`super::sniff`] needs at most.
const SNIFFED: u64 = 16;

/// Reads an image file, decodes it and resizes it, as [`super::decode_image`] does.
///
/// A symbolic link is followed. Pipes, sockets and devices are not opened. However many threads
/// read files, these take at most [`LARGEST_FILE`] bytes together.
///
/// # Errors
/// If it is not a regular file, has more than [`LARGEST_FILE`] bytes, cannot be read, or its
/// content cannot be decoded. The error lacks the file's name; [`DataError::in_file`] adds it.
pub fn decode_image_file(path: &Path, resize: Resize) -> Result<Vec<u8>, DataError> {
    with_image_file(path, |image| resize.apply(image))
}

/// What `look` finds in the image of a file, at its own size.
///
/// # Errors
/// As [`decode_image_file`].
pub(in crate::data) fn with_image_file<T>(
    path: &Path,
    look: impl FnOnce(&RgbImage) -> T,
) -> Result<T, DataError> {
    let (file, length) = open(path)?;
    if length > LARGEST_FILE {
        let limit = LARGEST_FILE;
        return Err(DataError::FileTooLarge {
            bytes: length,
            limit,
        });
    }
    let _share = FILES.take(length);
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(length as usize).is_err() {
        return Err(DataError::Memory(OutOfMemory {
            needed: length,
            available: memory::available(),
        }));
    }
    // A file that grows meanwhile must not exceed its share.
    let read = file.take(length).read_to_end(&mut bytes);
    read.map_err(refused)?;
    let (image, _memory) = decode(&bytes)?;
    Ok(look(&image))
}

/// The first bytes of a file, which tell its format.
///
/// # Errors
/// If it is not a regular file, or cannot be read.
pub(in crate::data) fn read_start(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut start = Vec::new();
    let (file, _) = open(path)?;
    file.take(SNIFFED)
        .read_to_end(&mut start)
        .map_err(refused)?;
    Ok(start)
}

/// Opens a regular file; also returns its length.
fn open(path: &Path) -> Result<(File, u64), DataError> {
    // Asked before opening, since opening a pipe waits for its other end.
    let metadata = fs::metadata(path).map_err(refused)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "a folder"
        } else {
            "a pipe, socket or device"
        };
        return Err(DataError::NotAFile { kind });
    }
    Ok((File::open(path).map_err(refused)?, metadata.len()))
}

fn refused(source: io::Error) -> DataError {
    DataError::UnreadableFile { source }
}
