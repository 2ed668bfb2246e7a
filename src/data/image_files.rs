//! Image files that are decoded when they are read.
//!
//! A file found damaged during a run does not end it: the next readable image of the same class
//! replaces it, always the same one, and the file is noted.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::unreadable::Unreadable;
use super::{DataError, EpochKey, Resize, Source, decode_image_file};

/// The images of a part, on disk.
pub(super) struct ImageFiles {
    files: Vec<PathBuf>,
    /// The class of each file, ascending.
    labels: Vec<u32>,
    /// The images of this source, as positions in `files`: those readable at opening.
    kept: Vec<usize>,
    resize: Resize,
    /// All unreadable files, including those skipped at opening.
    unreadable: Mutex<Unreadable>,
    /// How many were skipped at opening.
    skipped: usize,
}

impl ImageFiles {
    /// Files class by class with their labels, without those known to be unreadable.
    pub(super) fn new(
        files: Vec<PathBuf>,
        labels: Vec<u32>,
        resize: Resize,
        unreadable: Unreadable,
    ) -> ImageFiles {
        ImageFiles {
            files,
            labels,
            kept: unreadable.kept().collect(),
            resize,
            skipped: unreadable.len(),
            unreadable: Mutex::new(unreadable),
        }
    }

    fn unreadable(&self) -> MutexGuard<'_, Unreadable> {
        // A panic in another reader cannot leave the tally half-updated.
        let guard = self.unreadable.lock();
        guard.unwrap_or_else(PoisonError::into_inner)
    }

    /// The images of the class of `index`: that one first, then those after it, wrapping around.
    fn of_class(&self, index: usize) -> impl Iterator<Item = usize> {
        let label = self.label(index);
        let start = self.kept.partition_point(|&file| self.labels[file] < label);
        let end = self
            .kept
            .partition_point(|&file| self.labels[file] <= label);
        (index..end).chain(start..index)
    }
}

impl Source for ImageFiles {
    fn len(&self) -> usize {
        self.kept.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.labels[self.kept[index]]
    }

    fn size(&self) -> u32 {
        self.resize.size
    }

    fn read(&self, index: usize, _: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        for candidate in self.of_class(index) {
            let file = self.kept[candidate];
            if self.unreadable().has(file) {
                continue;
            }
            match decode_image_file(&self.files[file], self.resize) {
                Ok(image) => {
                    out.copy_from_slice(&image);
                    return Ok(());
                }
                Err(error) => {
                    let mut unreadable = self.unreadable();
                    unreadable.add(file, &self.files[file], &error);
                    unreadable.check()?;
                }
            }
        }
        let file = self.kept[index];
        let path = &self.files[file];
        Err(DataError::ClassWithoutImages {
            path: path.parent().unwrap_or(path).to_path_buf(),
            first: self.unreadable().first_where(|other| other == file),
        })
    }

    fn resident(&self) -> Option<&[u8]> {
        None
    }

    fn notes(&self) -> Vec<String> {
        let unreadable = self.unreadable();
        match unreadable.len() > self.skipped {
            true => unreadable.note().into_iter().collect(),
            false => Vec::new(),
        }
    }
}
