//! What is known about a dataset before its files are present: `datasets/*.toml`.
//!
//! The manifests are compiled in, so that errors can name what to download, from where, and its
//! checksums. `pyr-wgpu data get` checks the SHA-256 sums of archives; the readers check
//! sizes and labels only.

use serde::Deserialize;

/// One of the files in `datasets/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name for messages.
    pub title: String,
    /// The default recipe for training on it.
    pub recipe: RecipeDefaults,
    /// Mean and deviation, if they are published. Otherwise the reader provides them.
    pub constants: Option<Constants>,
    /// The published files of records. The images of other datasets are drawn by the program or
    /// files of their own, and their reader provides the classes.
    pub published: Option<Published>,
}

/// The part of a training recipe whose defaults depend on the dataset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeDefaults {
    /// Passes over the training images.
    pub epochs: u32,
    /// Images of one optimiser step.
    pub batch_size: usize,
    /// Learning rate before the first milestone.
    pub learning_rate: f32,
    /// Epochs, counted from 1, at whose start the learning rate drops.
    pub milestones: Vec<u32>,
}

/// Published constants of the training images.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constants {
    /// Mean per channel (R, G, B) on the scale 0..255.
    pub mean: [f32; 3],
    /// Standard deviation per channel on the scale 0..255.
    pub std: [f32; 3],
}

/// Published files of fixed-length records, label bytes followed by 1024 red, 1024 green and 1024
/// blue bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Class names by label.
    pub classes: Vec<String>,
    /// The folder in the archive.
    pub folder: String,
    /// Bytes before the pixels; the last of them is the class.
    pub label_bytes: usize,
    /// Files of the training set, in order.
    pub train: Vec<RecordFile>,
    /// Files of the test set, in order.
    pub test: Vec<RecordFile>,
    /// Where the files come from.
    pub archive: Archive,
}

/// A file of records.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What is published for download.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The page that describes it.
    pub page: String,
    /// The name of its file.
    pub name: String,
    /// Where it is: at the publisher, then at others.
    pub urls: Vec<String>,
    /// Its size.
    pub bytes: u64,
    /// Its MD5 sum, as the page gives it.
    pub md5: String,
    /// Its SHA-256 sum.
    pub sha256: String,
}

/// Parses a compiled-in manifest.
pub(super) fn parse(text: &str) -> Manifest {
    toml::from_str(text).expect("the compiled-in manifests are valid")
}
