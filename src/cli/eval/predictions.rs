//! The predictions of an evaluation, image by image, as a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::error::CliError;
use super::super::output::csv_field as field;
use super::save;
use crate::checkpoint::{StoredTensor, save_npz};
use crate::data::Source;
use crate::text::printable;
use crate::train::{ImageScores, argmax, softmax};

/// Where and how predictions are written.
#[derive(Clone)]
pub(super) enum File {
    Csv(PathBuf),
    Npz(PathBuf),
}

impl File {
    pub(super) fn path(&self) -> &Path {
        match self {
            File::Csv(path) | File::Npz(path) => path,
        }
    }
}

/// Parses the name of the file.
///
/// # Errors
/// If its extension is none of the two.
pub(super) fn file(text: &str) -> Result<File, String> {
    let path = PathBuf::from(text);
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => Ok(File::Csv(path)),
        Some("npz") => Ok(File::Npz(path)),
        _ => Err("it must end in .csv or .npz".to_owned()),
    }
}

/// Writes the predictions.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(
    file: &File,
    images: &Arc<dyn Source>,
    classes: &[String],
    scores: &[ImageScores],
) -> Result<(), CliError> {
    match file {
        File::Csv(path) => save(path, &csv(images.as_ref(), classes, scores)),
        File::Npz(path) => npz(path, classes.len(), scores),
    }
}

/// Index and file of each image, its class, the most probable one, and the probability of either.
fn csv(images: &dyn Source, classes: &[String], scores: &[ImageScores]) -> String {
    let mut text = "image,file,class,predicted,probability,probability_of_class\n".to_owned();
    for ImageScores {
        index,
        label,
        logits,
    } in scores
    {
        let probabilities = softmax(logits);
        let predicted = argmax(logits);
        let file = images
            .path(*index)
            .map(|path| field(&printable(&path.to_string_lossy())));
        text += &format!(
            "{index},{},{},{},{},{}\n",
            file.unwrap_or_default(),
            field(&classes[*label as usize]),
            field(&classes[predicted]),
            probabilities[predicted],
            probabilities[*label as usize],
        );
    }
    text
}

/// `images`, `labels` and `predicted`, int64 [N]; `logits` and `probabilities`, float32 [N, classes].
fn npz(path: &Path, classes: usize, scores: &[ImageScores]) -> Result<(), CliError> {
    let count = scores.len();
    let probabilities = scores.iter().flat_map(|image| softmax(&image.logits));
    let integers = |values: Vec<i64>| StoredTensor::i64(vec![count], values);
    let reals = |values: Vec<f32>| StoredTensor::f32(vec![count, classes], values);
    let indices = scores.iter().map(|image| image.index as i64);
    let labels = scores.iter().map(|image| i64::from(image.label));
    let predicted = scores.iter().map(|image| argmax(&image.logits) as i64);
    let logits = scores.iter().flat_map(|image| image.logits.iter().copied());
    let arrays = [
        ("images", integers(indices.collect())),
        ("labels", integers(labels.collect())),
        ("predicted", integers(predicted.collect())),
        ("logits", reals(logits.collect())),
        (
            "probabilities",
            reals(probabilities.map(|value| value as f32).collect()),
        ),
    ];
    save_npz(path, &arrays).map_err(CliError::from)
}
