//! The images that the command line names: files, folders, and a list on stdin.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use glob::glob;

use super::super::error::CliError;
use crate::data::is_named_as_image;
use crate::text::{printable, printable_path};

/// The image files of the arguments, in their order; a folder stands for the images in it and in
/// its folders, sorted by name, a pattern for the paths that match it, as shells other than those of
/// Windows expand it, and `-` for the paths on stdin, one a line.
///
/// # Errors
/// If a folder or stdin cannot be read, a folder has no image, or nothing matches a pattern.
pub(super) fn expand(arguments: &[PathBuf]) -> Result<Vec<PathBuf>, CliError> {
    let mut images = Vec::new();
    for argument in arguments {
        if argument.as_os_str() == "-" {
            for line in io::stdin().lock().lines() {
                let line = line.map_err(|error| CliError::Data(format!("stdin: {error}")))?;
                if !line.is_empty() {
                    named(Path::new(&line), &mut images)?;
                }
            }
            continue;
        }
        named(argument, &mut images)?;
    }
    Ok(images)
}

/// Adds a file, the images of a folder, or those that match a pattern.
fn named(path: &Path, images: &mut Vec<PathBuf>) -> Result<(), CliError> {
    match path.to_str() {
        // A file may have such a name, too.
        Some(text) if text.contains(['*', '?', '[']) && !path.exists() => matching(text, images),
        _ if path.is_dir() => folder(path, images),
        _ => {
            images.push(path.to_owned());
            Ok(())
        }
    }
}

/// Adds the images that match a pattern, sorted by name.
fn matching(pattern: &str, images: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let wrong = |cause: String| CliError::Data(format!("{}: {cause}", printable(pattern)));
    let paths = glob(pattern).map_err(|error| wrong(format!("no pattern of paths: {error}")))?;
    let mut found = false;
    for path in paths {
        let path = path.map_err(|error| CliError::Data(error.to_string()))?;
        found = true;
        match path.is_dir() {
            true => folder(&path, images)?,
            false => images.push(path),
        }
    }
    match found {
        true => Ok(()),
        false => Err(wrong("no file matches this pattern".to_owned())),
    }
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
        let images = expand(&[path("a/*.[pP]*"), path("?")]).unwrap();
        let expected = ["a/2.png", "a/1.JPG", "a/2.png", "a/b/3.gif", "c"];
        assert_eq!(images, expected.map(path));
        std::fs::write(path("[d]"), b"").unwrap();
        assert_eq!(expand(&[path("[d]")]).unwrap(), [path("[d]")]);
        for (pattern, cause) in [("a/*.bmp", "no file matches"), ("a/[", "no pattern")] {
            let error = format!("{:?}", expand(&[path(pattern)]).unwrap_err());
            assert!(error.contains(cause), "{error}");
        }
    }
}
