//! Image files that are decoded when they are read.
//!
//! A file found damaged during a run does not end it: the next readable image of the same class
//! replaces it, always the same one, and the file is noted. Evaluation leaves the replacement out.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::unreadable::Unreadable;
use super::{DataError, EpochKey, Resize, Source, decode_image_file};

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
    /// The images of this source, as positions in `files`: those readable at opening.
    kept: Vec<u32>,
    resize: Resize,
    /// All unreadable files, including those skipped at opening.
    unreadable: Mutex<Unreadable>,
    /// How many were skipped at opening.
    skipped: usize,
}

impl ImageFiles {
    /// The files without those known to be unreadable.
    pub(super) fn new(files: FileList, resize: Resize, unreadable: Unreadable) -> ImageFiles {
        ImageFiles {
            files,
            kept: unreadable.kept().map(|file| file as u32).collect(),
            resize,
            skipped: unreadable.len(),
            unreadable: Mutex::new(unreadable),
        }
    }

    /// The position in `files` of an image.
    fn file(&self, index: usize) -> usize {
        self.kept[index] as usize
    }

    fn unreadable(&self) -> MutexGuard<'_, Unreadable> {
        // A panic in another reader cannot leave the tally half-updated.
        let guard = self.unreadable.lock();
        guard.unwrap_or_else(PoisonError::into_inner)
    }

    /// The images of the class of `index`: that one first, then those after it, wrapping around.
    fn of_class(&self, index: usize) -> impl Iterator<Item = usize> {
        let label = self.label(index);
        let class = |file: &u32| self.files.label(*file as usize);
        let start = self.kept.partition_point(|file| class(file) < label);
        let end = self.kept.partition_point(|file| class(file) <= label);
        (index..end).chain(start..index)
    }
}

impl Source for ImageFiles {
    fn len(&self) -> usize {
        self.kept.len()
    }

    fn label(&self, index: usize) -> u32 {
        self.files.label(self.file(index))
    }

    fn size(&self) -> u32 {
        self.resize.size
    }

    fn views(&self) -> usize {
        self.resize.views.count()
    }

    fn read(&self, index: usize, _: Option<EpochKey>, out: &mut [u8]) -> Result<(), DataError> {
        for candidate in self.of_class(index) {
            let file = self.file(candidate);
            if self.unreadable().has(file) {
                continue;
            }
            let path = self.files.path(file);
            match decode_image_file(&path, self.resize) {
                Ok(image) => {
                    out.copy_from_slice(&image);
                    return Ok(());
                }
                Err(error) => {
                    let mut unreadable = self.unreadable();
                    unreadable.add(file, &path, &error);
                    unreadable.check()?;
                }
            }
        }
        let file = self.file(index);
        let class = self.label(index) as usize;
        Err(DataError::ClassWithoutImages {
            path: self.files.folder(class).to_path_buf(),
            first: self.unreadable().first_where(|other| other == file),
        })
    }

    fn is_damaged(&self, index: usize) -> bool {
        self.unreadable().has(self.file(index))
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        Some(self.files.path(self.file(index)))
    }

    fn resident(&self) -> Option<&[u8]> {
        None
    }

    fn notes(&self) -> Vec<String> {
        let unreadable = self.unreadable();
        match unreadable.len() > self.skipped {
            true => unreadable.note_later().into_iter().collect(),
            false => Vec::new(),
        }
    }
}
