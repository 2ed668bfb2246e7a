//! Image files that are decoded when they are read, and augmented in training where the recipe does
//! so before the resize (`augment`).
//!
//! A file found damaged during a run does not end it: the next readable image of the same class
//! replaces it, always the same one, and the file is noted. Evaluation leaves the replacement out.

use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::augment::augment;
use super::decode::with_image_file;
use super::unreadable::Unreadable;
use super::{Augmentation, DataError, EpochKey, Resize, Source};
use crate::shape::PixelFormat;

/// Image files with their labels, class by class. A folder may hold millions, so only their names
/// are stored.
#[derive(Default)]
pub(super) struct FileList {
    /// The folder of each class.
    folders: Vec<PathBuf>,
    names: Vec<Box<OsStr>>,
    /// The class of each file, ascending.
    labels: Vec<u32>,
}

impl FileList {
    /// Adds the files of the next class.
    pub(super) fn add_class(&mut self, folder: PathBuf, names: Vec<OsString>) {
        let label = self.folders.len() as u32;
        self.labels.resize(self.labels.len() + names.len(), label);
        let names = names.into_iter().map(OsString::into_boxed_os_str);
        self.names.extend(names);
        self.folders.push(folder);
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn label(&self, file: usize) -> u32 {
        self.labels[file]
    }

    /// The files of a class.
    fn class(&self, label: u32) -> Range<usize> {
        let at = |label| self.labels.partition_point(|other| *other < label);
        at(label)..at(label + 1)
    }

    /// The names of a class's files.
    pub(super) fn names(&self, label: u32) -> &[Box<OsStr>] {
        &self.names[self.class(label)]
    }

    /// The folders of all classes.
    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The folder of a class.
    pub(super) fn folder(&self, class: usize) -> &Path {
        &self.folders[class]
    }

    pub(super) fn path(&self, file: usize) -> PathBuf {
        self.folder(self.labels[file] as usize)
            .join(&*self.names[file])
    }
}

/// The images of a part, on disk.
pub(super) struct ImageFiles {
    files: FileList,
    resize: Resize,
    augmentation: Augmentation,
    /// The files found unreadable so far.
    unreadable: Mutex<Unreadable>,
}

impl ImageFiles {
    /// The files of the part in `folder`.
    pub(super) fn new(
        folder: PathBuf,
        files: FileList,
        resize: Resize,
        augmentation: Augmentation,
    ) -> ImageFiles {
        ImageFiles {
            unreadable: Mutex::new(Unreadable::new(folder, files.len())),
            files,
            resize,
            augmentation,
        }
    }

    fn unreadable(&self) -> MutexGuard<'_, Unreadable> {
        // A panic in another reader cannot leave the tally half-updated.
        let guard = self.unreadable.lock();
        guard.unwrap_or_else(PoisonError::into_inner)
    }

    /// The images of the class of `index`: that one first, then those after it, wrapping around.
    fn of_class(&self, index: usize) -> impl Iterator<Item = usize> {
        let class = self.files.class(self.label(index));
        (index..class.end).chain(class.start..index)
    }

    /// Decodes the file of an image to `out`; `sample` is the index that keys its random numbers.
    fn decode(
        &self,
        path: &Path,
        sample: usize,
        key: Option<EpochKey>,
        out: &mut [u8],
    ) -> Result<(), DataError> {
        with_image_file(path, |image| match key {
            Some(key) if !self.augmentation.is_crop() => {
                augment(image, self.resize.size, key, sample, out);
            }
            _ => out.copy_from_slice(&self.resize.apply(image)),
        })
    }
}

impl Source for ImageFiles {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.files.label(index)
    }

    fn size(&self) -> u32 {
        self.resize.size
    }

    fn views(&self) -> usize {
        self.resize.views.count()
    }

    fn pixels(&self, augmented: bool) -> PixelFormat {
        match augmented && !self.augmentation.is_crop() {
            true => PixelFormat::F32,
            false => PixelFormat::U8,
        }
    }

    fn read(&self, index: usize, key: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        for file in self.of_class(index) {
            if self.unreadable().has(file) {
                continue;
            }
            let path = self.files.path(file);
            match self.decode(&path, index, key, out) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    let mut unreadable = self.unreadable();
                    unreadable.add(file, &path, &error);
                    unreadable.check()?;
                }
            }
        }
        let class = self.label(index) as usize;
        Err(DataError::ClassWithoutImages {
            path: self.files.folder(class).to_path_buf(),
            first: self.unreadable().first_where(|other| other == index),
        })
    }

    fn is_damaged(&self, index: usize) -> bool {
        self.unreadable().has(index)
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        Some(self.files.path(index))
    }

    fn resident(&self) -> Option<&[u8]> {
        None
    }

    fn notes(&self) -> Vec<String> {
        self.unreadable().note_later().into_iter().collect()
    }
}
