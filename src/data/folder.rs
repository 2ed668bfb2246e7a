//! A folder of images as a dataset: `train/<class>/<image>` and `test/<class>/<image>`,
//! or `val` in place of `test`.
//!
//! Classes are the folder names of the training part in byte-wise order, images the files in
//! a class folder in byte-wise order of their names. Names that begin with a dot are ignored,
//! folders inside a class folder are not searched.
//! If the images of the opened parts fit into memory together, they are decoded once, on all
//! cores; otherwise only the first bytes of each file are checked here, and files are decoded
//! when they are read (`image_files`).
//! Unreadable files are skipped and noted; more than 1 % of a part's files is an error.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::decode::sniff_file;
use super::image_files::ImageFiles;
use super::images::{Images, image_bytes};
use super::statistics::measure;
use super::unreadable::Unreadable;
use super::{DataError, Dataset, HOST_LIMIT, Manifest, Request, Resize, Source, decode_image_file};

/// The layout of a dataset folder, for error messages.
const EXPECTED: &str = "expected DIR/train/<class>/<image> and DIR/test/<class>/<image> \
                        (or DIR/val), in JPEG, PNG, GIF, BMP or WebP format";

/// Opens a folder.
pub(super) fn open(manifest: Manifest, request: &Request) -> Result<Dataset, DataError> {
    open_within(manifest, request, HOST_LIMIT)
}

/// Opens a folder; images stay in memory if they take at most `resident_limit` bytes.
fn open_within(
    manifest: Manifest,
    request: &Request,
    resident_limit: u64,
) -> Result<Dataset, DataError> {
    let resize = request.resize;
    let mut notes = Vec::new();
    let (train, test) = locate(manifest.title, request, &mut notes)?;
    let mut classes = class_folders(&test)?;
    if let Some(train) = &train {
        let train_classes = class_folders(train)?;
        compare(train, &train_classes, &test, &classes)?;
        classes = train_classes;
    }
    let train = match train.filter(|_| request.need_train) {
        Some(folder) => Some(Part::list(folder, &classes, &mut notes)?),
        None => None,
    };
    let test = Part::list(test, &classes, &mut notes)?;
    let images = test.files.len() + train.as_ref().map_or(0, |part| part.files.len());
    let resident = images as u64 * image_bytes(resize.size) as u64 <= resident_limit;
    let mut open = |part: Part| match resident {
        true => part.decode(resize, &mut notes),
        false => part.postpone(resize, &mut notes),
    };
    let train = train.map(&mut open).transpose()?;
    let test = open(test)?;
    let (mean, std) = measure(train.as_deref().unwrap_or(&*test))?;
    Ok(Dataset {
        classes: classes.iter().map(|class| class.name()).collect(),
        mean,
        std,
        train,
        test,
        notes,
    })
}

/// The folders of the training part, if it exists, and of the test part.
fn locate(
    title: String,
    request: &Request,
    notes: &mut Vec<String>,
) -> Result<(Option<PathBuf>, PathBuf), DataError> {
    let expected = EXPECTED.to_string();
    let Some(directory) = &request.dir else {
        return Err(DataError::NoDirectory { title, expected });
    };
    if !directory.is_dir() {
        return Err(DataError::MissingDirectory {
            path: directory.clone(),
            expected,
        });
    }
    let sub_folder = |name: &str| Some(directory.join(name)).filter(|path| path.is_dir());
    let train = sub_folder("train");
    let test = sub_folder("test");
    let val = sub_folder("val");
    if test.is_some() && val.is_some() {
        let path = directory.display();
        notes.push(format!("{path} has both test and val; test is used"));
    }
    let mut missing = Vec::new();
    if request.need_train && train.is_none() {
        missing.push("the folder train".to_string());
    }
    match test.or(val) {
        Some(test) if missing.is_empty() => Ok((train, test)),
        found => {
            if found.is_none() {
                missing.push("the folder test or val".to_string());
            }
            Err(DataError::MissingEntries {
                path: directory.clone(),
                missing,
                expected,
            })
        }
    }
}

/// A folder of images of one class, by its name on disk.
#[derive(Clone, PartialEq, Eq)]
struct Class(OsString);

impl Class {
    /// The name for messages and checkpoints.
    fn name(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

/// The class folders of a part in byte-wise order.
fn class_folders(part: &Path) -> Result<Vec<Class>, DataError> {
    let mut classes: Vec<Class> = entries(part)?
        .into_iter()
        .filter(|entry| entry.is_folder)
        .map(|entry| Class(entry.name))
        .collect();
    match classes.len() {
        0 | 1 => Err(DataError::TooFewClasses {
            path: part.to_path_buf(),
            class: classes.pop().map(|class| class.name()),
        }),
        _ => Ok(classes),
    }
}

/// Checks that both parts have the same classes.
fn compare(
    train: &Path,
    train_classes: &[Class],
    test: &Path,
    test_classes: &[Class],
) -> Result<(), DataError> {
    let only = |these: &[Class], those: &[Class]| -> Vec<String> {
        let others: BTreeSet<&OsString> = those.iter().map(|class| &class.0).collect();
        let only = these.iter().filter(|class| !others.contains(&class.0));
        only.map(Class::name).collect()
    };
    if train_classes == test_classes {
        return Ok(());
    }
    Err(DataError::ClassesDiffer {
        train: train.to_path_buf(),
        test: test.to_path_buf(),
        only_train: only(train_classes, test_classes),
        only_test: only(test_classes, train_classes),
    })
}

/// An entry of a folder.
struct Entry {
    name: OsString,
    is_folder: bool,
}

/// The entries of a folder in byte-wise order, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<Entry>, DataError> {
    let io = |source| DataError::Io {
        path: folder.to_path_buf(),
        source,
    };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Only a symbolic link needs another system call.
        let kind = entry.file_type().map_err(io)?;
        let is_folder = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        entries.push(Entry { name, is_folder });
    }
    entries.sort_by(|a, b| a.name.as_encoded_bytes().cmp(b.name.as_encoded_bytes()));
    Ok(entries)
}

/// The files of a part, not yet opened.
struct Part {
    folder: PathBuf,
    classes: Vec<Class>,
    /// Files class by class.
    files: Vec<PathBuf>,
    /// The class of each file.
    labels: Vec<u32>,
}

impl Part {
    fn list(
        folder: PathBuf,
        classes: &[Class],
        notes: &mut Vec<String>,
    ) -> Result<Part, DataError> {
        let mut part = Part {
            folder,
            classes: classes.to_vec(),
            files: Vec::new(),
            labels: Vec::new(),
        };
        for (label, class) in (0u32..).zip(classes) {
            let class_folder = part.folder.join(&class.0);
            let before = part.files.len();
            for entry in entries(&class_folder)? {
                let path = class_folder.join(&entry.name);
                if entry.is_folder {
                    let path = path.display();
                    notes.push(format!(
                        "{path} is a folder in a class folder; not searched"
                    ));
                } else {
                    part.files.push(path);
                    part.labels.push(label);
                }
            }
            if part.files.len() == before {
                return Err(DataError::ClassWithoutImages {
                    path: class_folder,
                    first: None,
                });
            }
        }
        Ok(part)
    }

    /// Decodes every file now.
    fn decode(self, resize: Resize, notes: &mut Vec<String>) -> Result<Arc<dyn Source>, DataError> {
        let length = image_bytes(resize.size);
        let mut bytes = vec![0; self.files.len() * length];
        let slots = bytes.par_chunks_exact_mut(length).enumerate();
        let unreadable = self.check_files(slots, |path, slot| {
            slot.copy_from_slice(&decode_image_file(path, resize)?);
            Ok(())
        });
        self.check(&unreadable, notes)?;
        // Readable images move up into the gaps of unreadable ones.
        let mut labels = Vec::with_capacity(self.files.len());
        for index in unreadable.kept() {
            let start = index * length;
            bytes.copy_within(start..start + length, labels.len() * length);
            labels.push(self.labels[index]);
        }
        bytes.truncate(labels.len() * length);
        Ok(Arc::new(Images::new(resize.size, bytes, labels)))
    }

    /// Checks only the first bytes of every file; images are decoded when they are read.
    fn postpone(
        self,
        resize: Resize,
        notes: &mut Vec<String>,
    ) -> Result<Arc<dyn Source>, DataError> {
        let slots = (0..self.files.len())
            .into_par_iter()
            .map(|index| (index, ()));
        let unreadable = self.check_files(slots, |path, ()| sniff_file(path));
        self.check(&unreadable, notes)?;
        let Part { files, labels, .. } = self;
        let source = ImageFiles::new(files, labels, resize, unreadable);
        Ok(Arc::new(source))
    }

    /// Reads every file on all cores; those for which `read` fails are unreadable.
    fn check_files<T: Send>(
        &self,
        slots: impl ParallelIterator<Item = (usize, T)>,
        read: impl Fn(&Path, T) -> Result<(), DataError> + Sync,
    ) -> Unreadable {
        let failed = slots.filter_map(|(index, slot)| {
            let error = read(&self.files[index], slot).err()?;
            Some((index, error))
        });
        let failed: Vec<(usize, DataError)> = failed.collect();
        let mut unreadable = Unreadable::new(self.folder.clone(), self.files.len());
        for (index, error) in failed {
            unreadable.add(index, &self.files[index], &error);
        }
        unreadable
    }

    /// Adds a note on unreadable files.
    ///
    /// # Errors
    /// If a class has no readable file, or too many files are unreadable.
    fn check(&self, unreadable: &Unreadable, notes: &mut Vec<String>) -> Result<(), DataError> {
        let mut left = vec![0usize; self.classes.len()];
        for index in unreadable.kept() {
            left[self.labels[index] as usize] += 1;
        }
        if let Some(label) = left.iter().position(|&count| count == 0) {
            let of_class = |index: usize| self.labels[index] as usize == label;
            return Err(DataError::ClassWithoutImages {
                path: self.folder.join(&self.classes[label].0),
                first: unreadable.first_where(of_class),
            });
        }
        unreadable.check()?;
        notes.extend(unreadable.note());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
