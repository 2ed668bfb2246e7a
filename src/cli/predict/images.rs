//! The images that the command line names: files, folders, and a list on stdin.

#[cfg(unix)]
use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, glob_with};

use super::super::error::CliError;
use crate::data::is_named_as_image;
use crate::text::{printable, printable_path};

/// The image files of the arguments, in their order; a folder stands for the images in it and in
/// its folders, sorted by name, a pattern for the paths that match it, as shells other than those of
/// Windows expand it, and `-` for the paths on stdin, one a line.
///
/// # Errors
/// If a folder or stdin cannot be read, a folder has no image, or a pattern has `**`.
pub(super) fn expand(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut images = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            for line in io::stdin().lock().split(b'\n') {
                let line = line.map_err(|error| CliError::Data(format!("stdin: {error}")))?;
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if !line.is_empty() {
                    named(&path_of(line), &mut images)?;
                }
            }
            continue;
        }
        match argument.to_str() {
            // A file may have such a name, too.
            Some(text) if text.contains(['*', '?', '[']) && !argument.exists() => {
                matching(text, &mut images)?;
            }
            _ => named(argument, &mut images)?,
        }
    }
    Ok(images)
}

/// The path that a line names, whose bytes need not be UTF-8 where paths need not.
fn path_of(line: &[u8]) -> PathBuf {
    #[cfg(unix)]
    return <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(line).into();
    #[cfg(not(unix))]
    return String::from_utf8_lossy(line).into_owned().into();
}

/// Adds a file, or the images of a folder.
fn named(path: &Path, images: &mut Vec<PathBuf>) -> Result<(), CliError> {
    match path.is_dir() {
        true => folder(path, images)?,
        false => images.push(path.to_owned()),
    }
    Ok(())
}

/// Adds the images that match a pattern as in a shell, sorted by name; its own path if there are none,
/// which then cannot be read.
fn matching(pattern: &str, images: &mut Vec<PathBuf>) -> Result<(), CliError> {
    if pattern.contains("**") {
        return Err(CliError::Usage(format!(
            "{}: ** is no pattern here; name the folder, which stands for the images in it and in \
             its folders",
            printable(pattern)
        )));
    }
    let options = MatchOptions {
        case_sensitive: cfg!(not(windows)),
        require_literal_leading_dot: true,
        ..MatchOptions::new()
    };
    let paths = glob_with(pattern, options).into_iter().flatten();
    let paths: Vec<PathBuf> = paths
        .collect::<Result<_, _>>()
        .map_err(|error| CliError::Data(error.to_string()))?;
    if paths.is_empty() {
        images.push(pattern.into());
    }
    for path in paths {
        match path.is_dir() {
            true => folder(&path, images)?,
            false => images.push(path),
        }
    }
    Ok(())
}

/// Adds the images of a folder.
fn folder(path: &Path, images: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let before = images.len();
    visit(path, images)?;
    match images.len() > before {
        true => Ok(()),
        false => Err(CliError::Data(format!(
            "{} has no image; name a folder with JPEG, PNG, WebP, GIF or BMP files",
            printable_path(path)
        ))),
    }
}

/// Adds the images of a folder and of those in it, except through links, which may lead back.
fn visit(folder: &Path, images: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::Data(format!("{}: {error}", printable_path(folder)));
    let entries = folder.read_dir().map_err(failed)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    for path in paths {
        match (path.is_dir(), path.is_symlink()) {
            (true, true) => {}
            (true, false) => visit(&path, images)?,
            (false, _) if is_named_as_image(&path) => images.push(path),
            (false, _) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stand_for_their_images() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        for name in ["a/2.png", "a/1.JPG", "a/b/3.gif", "a/notes.txt", "c"] {
            std::fs::write(path(name), b"").unwrap();
        }
        let images = expand(&[path("a"), path("c"), path("missing.png")]).unwrap();
        let expected = ["a/1.JPG", "a/2.png", "a/b/3.gif", "c", "missing.png"];
        assert_eq!(images, expected.map(path));
        std::fs::create_dir(path("empty")).unwrap();
        assert!(expand(&[path("empty")]).is_err());
        // A pattern stands for what matches it, unless a file has this name.
        std::fs::write(path("a/.hidden.png"), b"").unwrap();
        let images = expand(&[path("a/*.[pP]*"), path("?"), path("*.bmp"), path("[")]).unwrap();
        let expected = [
            "a/2.png",
            "a/.hidden.png",
            "a/1.JPG",
            "a/2.png",
            "a/b/3.gif",
            "c",
            "*.bmp",
            "[",
        ];
        assert_eq!(images, expected.map(path));
        assert!(expand(&[path("**/*.png")]).is_err());
        std::fs::write(path("[d]"), b"").unwrap();
        assert_eq!(expand(&[path("[d]")]).unwrap(), [path("[d]")]);
    }
}
