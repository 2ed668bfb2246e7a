//! What is known about a dataset before its files are there: `datasets/*.toml`.
//!
//! The manifests are part of the program, so that it can say what to fetch, from where, and
//! which checksums the archives have. The checksums are for people and their tools; the
//! readers check sizes and labels only.

use serde::Deserialize;

/// One of the files in `datasets/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The name on the command line.
    pub name: String,
    /// The name for people.
    pub title: String,
    /// The publication; nothing if the program draws the images itself, whose generator then
    /// has classes and constants.
    pub published: Option<Published>,
}

/// What is published: constants, and files of fixed-length records, label bytes followed by
/// 1024 red, 1024 green and 1024 blue bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Mean per channel (R, G, B) on the scale 0..255.
    pub mean: [f32; 3],
    /// Standard deviation per channel on the scale 0..255.
    pub std: [f32; 3],
    /// Class names by label.
    pub classes: Vec<String>,
    /// The folder in the archive.
    pub folder: String,
    /// Bytes before the pixels; the last of them is the class.
    pub label_bytes: usize,
    /// Files of the training part, in order.
    pub train: Vec<RecordFile>,
    /// Files of the test part, in order.
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
    /// The archive itself.
    pub url: String,
    /// Its size.
    pub bytes: u64,
    /// Its MD5 sum, as the page gives it.
    pub md5: String,
    /// Its SHA-256 sum.
    pub sha256: String,
}

impl Manifest {
    /// CIFAR-10.
    pub fn cifar10() -> Manifest {
        parse(include_str!("../../datasets/cifar10.toml"))
    }

    /// CIFAR-100.
    pub fn cifar100() -> Manifest {
        parse(include_str!("../../datasets/cifar100.toml"))
    }

    /// The dataset that the program draws.
    pub fn shapes() -> Manifest {
        parse(include_str!("../../datasets/shapes.toml"))
    }
}

fn parse(text: &str) -> Manifest {
    toml::from_str(text).expect("the manifests inside the program are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_say_what_the_recipe_says() {
        assert_eq!(Manifest::cifar10().name, "cifar10");
        let cifar10 = Manifest::cifar10().published.unwrap();
        assert_eq!(cifar10.classes.len(), 10);
        assert_eq!(cifar10.classes[9], "truck");
        assert_eq!(cifar10.mean, [125.3, 123.0, 113.9]);
        let cifar100 = Manifest::cifar100().published.unwrap();
        assert_eq!(cifar100.classes.len(), 100);
        assert!(cifar100.classes.is_sorted(), "the fine labels are in order");
        assert_eq!(cifar100.std, [68.2, 65.4, 70.4]);
    }

    #[test]
    fn files_hold_whole_records() {
        for (manifest, train) in [(Manifest::cifar10(), 5), (Manifest::cifar100(), 1)] {
            let published = manifest.published.unwrap();
            assert_eq!(published.train.len(), train);
            let count = |files: &[RecordFile]| -> u64 {
                let record = published.label_bytes as u64 + 3072;
                assert!(files.iter().all(|file| file.bytes % record == 0));
                files.iter().map(|file| file.bytes / record).sum()
            };
            assert_eq!(count(&published.train), 50_000);
            assert_eq!(count(&published.test), 10_000);
            let archive = published.archive;
            assert_eq!((archive.md5.len(), archive.sha256.len()), (32, 64));
        }
    }

    #[test]
    fn nothing_is_published_of_shapes() {
        let shapes = Manifest::shapes();
        assert_eq!(shapes.name, "shapes");
        assert!(shapes.published.is_none());
    }
}
