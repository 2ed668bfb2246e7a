//! The images that the command line names: files, folders, and a list on stdin.

#[cfg(unix)]
use std::ffi::OsStr;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, glob_with};

use super::super::error::CliError;
use crate::data::{DataError, is_named_as_image};
use crate::text::{printable, printable_path};

/// An image file, or why a folder or list has none or not all.
pub(super) type Input = Result<PathBuf, String>;

/// The image files of the arguments, in their order; a folder stands for the images in it and in
/// its folders, sorted by name, a pattern for the paths that match it, as shells other than those of
/// Windows expand it, and `-` for the paths on stdin, one a line.
///
/// # Errors
/// If a pattern has `**`.
pub(super) fn expand(arguments: &[PathBuf]) -> Result<Vec<Input>, CliError> {
    let mut inputs = Vec::new();
    for argument in arguments {
        match argument.to_str() {
            Some("-") => listed(&mut inputs),
            // A file may have such a name, too.
            Some(text) if text.contains(['*', '?', '[']) && !argument.exists() => {
                matching(text, &mut inputs)?;
            }
            _ => named(argument, &mut inputs),
        }
    }
    Ok(inputs)
}

/// Adds the images that stdin lists.
fn listed(inputs: &mut Vec<Input>) {
    const ADVICE: &str = "give it a path on each line";
    let before = inputs.len();
    for line in io::stdin().lock().split(b'\n') {
        match line {
            Ok(line) => {
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if !line.is_empty() {
                    named(&path_of(line), inputs);
                }
            }
            Err(error) => {
                inputs.push(Err(format!("stdin cannot be read: {error}; {ADVICE}")));
                break;
            }
        }
    }
    if inputs.len() == before {
        inputs.push(Err(format!("stdin names no image; {ADVICE}")));
    }
}

/// The path that a line names, whose bytes need not be UTF-8 where paths need not.
fn path_of(line: &[u8]) -> PathBuf {
    #[cfg(unix)]
    return <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(line).into();
    #[cfg(not(unix))]
    return String::from_utf8_lossy(line).into_owned().into();
}

/// Adds a file, or the images of a folder.
fn named(path: &Path, inputs: &mut Vec<Input>) {
    match path.is_dir() {
        true => folder(path, inputs),
        false => inputs.push(Ok(path.to_owned())),
    }
}

/// Adds the images that match a pattern as in a shell, sorted by name; its own path if there are none,
/// which then cannot be read.
fn matching(pattern: &str, inputs: &mut Vec<Input>) -> Result<(), CliError> {
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
    let before = inputs.len();
    for path in glob_with(pattern, options).into_iter().flatten() {
        match path {
            Ok(path) => named(&path, inputs),
            Err(error) => {
                let folder = error.path().to_owned();
                inputs.push(Err(unreadable(&folder, error.into())));
            }
        }
    }
    if inputs.len() == before {
        inputs.push(Ok(pattern.into()));
    }
    Ok(())
}

/// Adds the images of a folder.
fn folder(path: &Path, inputs: &mut Vec<Input>) {
    let before = inputs.len();
    visit(path, inputs);
    if inputs.len() == before {
        inputs.push(Err(format!(
            "{} has no image; name a folder with JPEG, PNG, WebP, GIF or BMP files",
            printable_path(path)
        )));
    }
}

/// Adds the images of a folder and of those in it, except through links, which may lead back. If
/// listing it fails, adds those listed before and the error.
fn visit(folder: &Path, inputs: &mut Vec<Input>) {
    let mut entries = Vec::new();
    let listed = folder.read_dir().and_then(|list| {
        for entry in list {
            let entry = entry?;
            entries.push((entry.path(), entry.file_type()?.is_dir()));
        }
        Ok(())
    });
    entries.sort();
    for (path, is_folder) in entries {
        if is_folder {
            visit(&path, inputs);
        } else if is_named_as_image(&path) && !path.is_dir() {
            inputs.push(Ok(path));
        }
    }
    if let Err(error) = listed {
        inputs.push(Err(unreadable(folder, error)));
    }
}

/// Why a folder cannot be listed.
fn unreadable(folder: &Path, source: io::Error) -> String {
    let error = DataError::UnreadableFile { source };
    error.in_file(folder).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The images, if there is no error.
    fn images(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
        let inputs = expand(arguments).map_err(|error| format!("{error:?}"))?;
        inputs.into_iter().collect()
    }

    #[test]
    fn folders_stand_for_their_images() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("a/b")).unwrap();
        for name in ["a/2.png", "a/1.JPG", "a/b/3.gif", "a/notes.txt", "c"] {
            std::fs::write(path(name), b"").unwrap();
        }
        let found = images(&[path("a"), path("c"), path("missing.png")]).unwrap();
        let expected = ["a/1.JPG", "a/2.png", "a/b/3.gif", "c", "missing.png"];
        assert_eq!(found, expected.map(path));
        std::fs::create_dir(path("empty")).unwrap();
        let inputs = expand(&[path("c"), path("empty"), path("c")]).unwrap();
        assert_eq!(inputs.iter().filter(|input| input.is_err()).count(), 1);
        assert_eq!(inputs.len(), 3);
        // A pattern stands for what matches it, unless a file has this name.
        std::fs::write(path("a/.hidden.png"), b"").unwrap();
        let found = images(&[path("a/*.[pP]*"), path("?"), path("*.bmp"), path("[")]).unwrap();
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
        assert_eq!(found, expected.map(path));
        assert!(expand(&[path("**/*.png")]).is_err());
        std::fs::write(path("[d]"), b"").unwrap();
        assert_eq!(images(&[path("[d]")]).unwrap(), [path("[d]")]);
    }
}
