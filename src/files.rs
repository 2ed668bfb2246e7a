//! Files that others wrote or named. Only regular files are read, since a pipe or device may have no
//! end, and no more than a limit.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of a configuration, a list of names, or another file that a person may write.
pub const LARGEST_TEXT: u64 = 16 << 20;

/// Opens a regular file; also returns its length in bytes. A symbolic link is followed.
///
/// # Errors
/// If it is a directory, pipe, socket or device, or cannot be opened.
pub fn open(path: &Path) -> io::Result<(File, u64)> {
    // Asked before opening, since opening a pipe waits for its other end.
    let kind = fs::metadata(path)?;
    if kind.is_dir() {
        let kind = io::ErrorKind::IsADirectory;
        return Err(io::Error::new(kind, "it is a directory"));
    }
    if !kind.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Ok((File::open(path)?, kind.len()))
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// As [`open`], and if it has more bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let (file, length) = open(path)?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve(length.min(limit) as usize)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // Some regular files, such as those of /proc, do not tell their length.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {limit} bytes"),
        )),
        false => Ok(bytes),
    }
}

/// Reads a text of at most `limit` bytes.
///
/// # Errors
/// As [`read`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The path that symbolic links lead to, which need not exist.
///
/// # Errors
/// If the links have no end.
pub fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    // As many as Linux follows.
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(target) => path = directory(&path).join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// The directory of a path; the current one for a bare name.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_lies_in_the_current_directory() {
        assert_eq!(directory(Path::new("last.safetensors")), Path::new("."));
        assert_eq!(directory(Path::new("runs/a")), Path::new("runs"));
    }

    #[test]
    fn only_files_up_to_the_limit_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("names");
        fs::write(&path, "a\nb\n").unwrap();
        assert_eq!(read_text(&path, 4).unwrap(), "a\nb\n");
        assert!(
            read(&path, 3)
                .unwrap_err()
                .to_string()
                .contains("more than 3 bytes")
        );
        fs::write(&path, b"\xff").unwrap();
        let error = read_text(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let error = read(directory.path(), 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
        // A sparse file is not read to its end.
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        read(&path, 4).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn devices_are_not_opened() {
        let error = open(Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
