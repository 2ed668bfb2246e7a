//! The images that the command line names: files, folders, and a list on stdin.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::super::error::CliError;
use crate::data::is_named_as_image;
use crate::text::printable_path;

/// The image files of the arguments, in their order; a folder stands for the images in it and in
/// its folders, sorted by name, and `-` for the paths on stdin, one a line.
///
/// # Errors
/// If a folder or stdin cannot be read, or a folder has no image.
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

/// Adds a file, or the images of a folder.
fn named(path: &Path, images: &mut Vec<PathBuf>) -> Result<(), CliError> {
    if !path.is_dir() {
        images.push(path.to_owned());
        return Ok(());
    }
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
    }
}
