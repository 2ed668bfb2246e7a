//! The images of `tests/images/corpus` against the pixels that other decoders see.

use std::fs;
use std::path::Path;

use super::*;

/// The largest difference to djpeg. The inverse transforms of two decoders differ by one step at
/// most (JPEG conformance, T.83), and so do their roundings of upsampled colours: a step of
/// brightness, and two of blue, which count 1.772 times, then rounded.
const JPEG: u8 = 5;

/// A four-component file has black ink as well, whose step scales with the others.
const JPEG_INKS: u8 = 6;

/// The steps of 5-bit samples are rounded up or down; the others are exact.
const ROUNDED: u8 = 1;

/// Lossy WebP is defined to the bit, up to the conversion to RGB.
const LOSSY_WEBP: u8 = 2;

fn tolerance(path: &str) -> u8 {
    match path.split_once('/') {
        Some(("jpeg", name)) if name.starts_with("inks") => JPEG_INKS,
        Some(("jpeg", _)) => JPEG,
        Some(("bmp", name)) if name.starts_with("16-bits") => ROUNDED,
        Some(("webp", name)) if !name.contains("lossless") => LOSSY_WEBP,
        _ => 0,
    }
}

/// Compares all pixels of an image, or its error.
fn check(folder: &Path, path: &str, expected: &str) -> Result<(), String> {
    let found = decode(&fs::read(folder.join(path)).unwrap());
    if let Some(reason) = expected.strip_prefix("refused: ") {
        return match found {
            Err(error) if error.to_string().contains(reason) => Ok(()),
            Err(error) => Err(format!("the error `{error}` does not say `{reason}`")),
            Ok(_) => Err(format!("it is decoded, but should be refused: {reason}")),
        };
    }
    let (found, _) = found.map_err(|error| error.to_string())?;
    let (expected, _) = decode(&fs::read(folder.join(expected)).unwrap()).unwrap();
    if found.dimensions() != expected.dimensions() {
        let [found, expected] = [found.dimensions(), expected.dimensions()];
        return Err(format!("it has {found:?} pixels instead of {expected:?}"));
    }
    let differences = found.as_raw().iter().zip(expected.as_raw());
    let (at, largest) = (0..)
        .zip(differences.map(|(a, b)| a.abs_diff(*b)))
        .max_by_key(|&(_, difference)| difference)
        .unwrap();
    let tolerance = tolerance(path);
    if largest > tolerance {
        let pixel = at / 3 % found.width() as usize;
        let row = at / 3 / found.width() as usize;
        return Err(format!(
            "pixel {pixel} of row {row} is off by {largest} of {tolerance}"
        ));
    }
    Ok(())
}

#[test]
fn every_kind_of_image_has_the_pixels_that_others_see() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images/corpus");
    let list = fs::read_to_string(folder.join("list.tsv")).unwrap();
    let mut problems = Vec::new();
    for line in list.lines() {
        let (path, expected) = line.split_once('\t').unwrap();
        if let Err(problem) = check(&folder, path, expected) {
            problems.push(format!("{path}: {problem}"));
        }
    }
    assert!(list.lines().count() > 600, "the list is not complete");
    let count = problems.len();
    assert!(
        problems.is_empty(),
        "{count} images:\n{}",
        problems.join("\n")
    );
}
