//! The table of datasets; everything specific to one is in its row.

use std::fmt;
use std::str::FromStr;

use super::{DataError, Manifest, manifest};
#[cfg(not(target_arch = "wasm32"))]
use super::{Dataset, Request, cifar, folder, imagenet, shapes};

/// Opens a dataset.
#[cfg(not(target_arch = "wasm32"))]
type Opener = fn(Manifest, &Request) -> Result<Dataset, DataError>;

/// Declares [`DatasetKind`] from rows of variant, name on the command line, manifest and opener.
macro_rules! datasets {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal, $manifest:expr, $open:expr;)+) => {
        /// The supported datasets.
        ///
        /// ```
        /// use pyr_wgpu::data::DatasetKind;
        ///
        /// assert_eq!("cifar10".parse::<DatasetKind>().unwrap(), DatasetKind::Cifar10);
        /// assert_eq!(DatasetKind::Folder.to_string(), "folder");
        /// let error = "cifar".parse::<DatasetKind>().unwrap_err().to_string();
        /// assert!(error.contains("`cifar`") && error.contains("cifar100"));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DatasetKind {
            $($(#[$doc])+ $variant,)+
        }

        impl DatasetKind {
            /// Every dataset.
            pub const ALL: &[DatasetKind] = &[$(DatasetKind::$variant),+];

            /// The name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(DatasetKind::$variant => $name,)+
                }
            }

            /// What is known about the dataset before its files are present.
            pub fn manifest(self) -> Manifest {
                manifest::parse(match self {
                    $(DatasetKind::$variant => $manifest,)+
                })
            }

            #[cfg(not(target_arch = "wasm32"))]
            pub(super) fn opener(self) -> Opener {
                match self {
                    $(DatasetKind::$variant => $open,)+
                }
            }
        }
    };
}

datasets! {
    /// Drawn by the program.
    Shapes = "shapes", include_str!("../../datasets/shapes.toml"),
        |_, request| shapes::open(request.resize, request.need_train);
    /// CIFAR-10, binary files.
    Cifar10 = "cifar10", include_str!("../../datasets/cifar10.toml"), cifar::open;
    /// CIFAR-100 with its fine labels, binary files.
    Cifar100 = "cifar100", include_str!("../../datasets/cifar100.toml"), cifar::open;
    /// ImageNet, or a part of its classes, as image files.
    ImageNet = "imagenet", include_str!("../../datasets/imagenet.toml"), imagenet::open;
    /// Any folder of images.
    Folder = "folder", include_str!("../../datasets/folder.toml"), folder::open;
}

impl DatasetKind {
    /// Whether every image is a file of its own, which can be decoded again in every epoch.
    pub fn has_image_files(self) -> bool {
        matches!(self, DatasetKind::ImageNet | DatasetKind::Folder)
    }

    /// All names as a list in a sentence, the last one after `conjunction`.
    pub fn names(conjunction: &str) -> String {
        let names: Vec<&str> = DatasetKind::ALL.iter().map(|kind| kind.name()).collect();
        let (last, others) = names.split_last().expect("there are datasets");
        format!("{} {conjunction} {last}", others.join(", "))
    }
}

impl fmt::Display for DatasetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for DatasetKind {
    type Err = DataError;

    fn from_str(name: &str) -> Result<DatasetKind, DataError> {
        let found = DatasetKind::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or_else(|| DataError::UnknownDataset {
            name: name.to_string(),
            known: DatasetKind::names("and"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::RecordFile;

    #[test]
    fn the_manifests_have_the_published_constants() {
        let constants = |kind: DatasetKind| kind.manifest().constants.unwrap();
        let classes = |kind: DatasetKind| kind.manifest().published.unwrap().classes;
        let cifar10 = classes(DatasetKind::Cifar10);
        assert_eq!((cifar10.len(), &*cifar10[9]), (10, "truck"));
        assert_eq!(constants(DatasetKind::Cifar10).mean, [125.3, 123.0, 113.9]);
        let cifar100 = classes(DatasetKind::Cifar100);
        assert_eq!(cifar100.len(), 100);
        assert!(cifar100.is_sorted(), "the fine labels are in order");
        assert_eq!(constants(DatasetKind::Cifar100).std, [68.2, 65.4, 70.4]);
        // Published on the scale 0 to 1; as single-precision numbers both are rounded.
        let imagenet = constants(DatasetKind::ImageNet);
        for (found, published) in [
            (imagenet.mean, [0.485, 0.456, 0.406]),
            (imagenet.std, [0.229, 0.224, 0.225]),
        ] {
            for (found, published) in found.into_iter().zip(published) {
                assert!((found - 255.0 * published).abs() <= found * f32::EPSILON);
            }
        }
    }

    #[test]
    fn files_hold_whole_records() {
        for (kind, train) in [(DatasetKind::Cifar10, 5), (DatasetKind::Cifar100, 1)] {
            let published = kind.manifest().published.unwrap();
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
    fn every_manifest_is_valid() {
        for kind in DatasetKind::ALL {
            let published = matches!(kind, DatasetKind::Cifar10 | DatasetKind::Cifar100);
            assert_eq!(kind.manifest().published.is_some(), published, "{kind}");
            let constants = published || *kind == DatasetKind::ImageNet;
            assert_eq!(kind.manifest().constants.is_some(), constants, "{kind}");
        }
    }
}
