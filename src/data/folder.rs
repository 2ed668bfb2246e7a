//! A folder of images as a dataset: `train/<class>/<image>` and `test/<class>/<image>`.
//!
//! `training` is accepted in place of `train`, and `testing`, `val`, `valid` or `validation` in
//! place of `test`, each in any case (`parts`).
//! Classes are the folder names of the training part in byte-wise order, images the files in
//! a class folder in byte-wise order of their names; folders inside a class folder are not
//! searched. Two classes of a part must not look alike, as `é` in two Unicode normal forms does.
//!
//! A file in a class folder is an image if its name has the extension of an image format or its
//! content begins like one (`formats`). An image that cannot be read, also because it is of a
//! format that is not supported or a link that leads nowhere, is skipped and noted; more than 1 %
//! of a part's images is an error. Everything else that lies in the directory is not used, counts
//! for nothing, and is noted once for each reason (`unused`): files that are no images, hidden ones,
//! files and folders out of place.
//!
//! If the images of the opened parts fit into memory together, they are decoded once, on all
//! cores; otherwise only the first bytes of each file are checked here, and files are decoded
//! when they are read (`image_files`).

mod entries;
mod inspect;
mod parts;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::decode::{read_start, sniff_file};
use super::formats::{begins_like_an_image, is_named_as_image};
use super::image_files::{FileList, ImageFiles};
use super::images::{Images, blank_images};
use super::names::{look_alike_keys, spell_apart};
use super::statistics::measure;
use super::unreadable::Unreadable;
use super::unused::Unused;
use super::{DataError, Dataset, HOST_LIMIT, Manifest, Request, Resize, Source, decode_image_file};
use crate::text::name_of;
pub use inspect::{Example, Finding, FindingKind, InspectedPart, Inspection, inspect_folder};

use entries::{EntryKind, NESTED, NOT_AN_IMAGE, OUTSIDE_CLASSES, entries, note_unusable};

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
    let directory = request.directory(manifest.title, parts::EXPECTED)?;
    let mut unused = Unused::new(directory);
    let listed = list(directory, request.need_train, &mut unused);
    let Listed {
        classes,
        train,
        test,
    } = listed.map_err(|error| unused.attach(error))?;
    let mut notes = unused.notes();
    let mut folders = Vec::new();
    for part in train.iter().chain([&test]) {
        folders.push(part.folder.clone());
        folders.extend_from_slice(part.files.folders());
    }
    let images = test.files.len() + train.as_ref().map_or(0, |part| part.files.len());
    let resident = images as u64 * resize.bytes() as u64 <= resident_limit;
    let mut open = |part: Part| match resident {
        true => part.decode(resize, &mut notes),
        false => part.postpone(resize, &mut notes),
    };
    let train = train.map(&mut open).transpose()?;
    let test = open(test)?;
    let (mean, std) = measure(train.as_deref().unwrap_or(&*test))?;
    Ok(Dataset {
        classes,
        mean,
        std,
        train,
        test,
        folders,
        notes,
    })
}

/// What is in a dataset folder, before any image is read.
struct Listed {
    classes: Vec<String>,
    train: Option<Part>,
    test: Part,
}

/// Lists the classes and the files of the parts.
fn list(directory: &Path, need_train: bool, unused: &mut Unused) -> Result<Listed, DataError> {
    let parts = parts::find(directory, need_train, unused)?;
    let mut classes = class_folders(&parts.test, unused)?;
    if let Some(train) = &parts.train {
        let train_classes = class_folders(train, unused)?;
        compare(train, &train_classes, &parts.test, &classes)?;
        classes = train_classes;
    }
    let train = parts.train.filter(|_| need_train);
    Ok(Listed {
        train: train
            .map(|folder| Part::list(folder, &classes, unused))
            .transpose()?,
        test: Part::list(parts.test, &classes, unused)?,
        classes: classes.iter().map(|class| class.name()).collect(),
    })
}

/// A folder of images of one class, by its name on disk.
#[derive(Clone, PartialEq, Eq)]
struct Class(OsString);

impl Class {
    /// The name for messages and checkpoints.
    fn name(&self) -> String {
        name_of(&self.0)
    }
}

/// The class folders of a part in byte-wise order.
fn class_folders(part: &Path, unused: &mut Unused) -> Result<Vec<Class>, DataError> {
    let mut classes: Vec<Class> = Vec::new();
    let mut keys = HashMap::new();
    for (name, kind) in entries(part, unused)? {
        match kind {
            EntryKind::Folder => {}
            EntryKind::File => {
                unused.add(OUTSIDE_CLASSES, &part.join(name));
                continue;
            }
            other => {
                note_unusable(&other, &part.join(name), unused);
                continue;
            }
        }
        let class = Class(name);
        let name = class.name();
        for key in look_alike_keys(&name) {
            let twin = keys.insert(key, classes.len());
            if let Some(twin) = twin.filter(|twin| *twin != classes.len()) {
                return Err(DataError::ClassesAlike {
                    path: part.to_path_buf(),
                    names: spell_apart(&classes[twin].name(), &name),
                });
            }
        }
        classes.push(class);
    }
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
    let only_train = only(train_classes, test_classes);
    let only_test = only(test_classes, train_classes);
    let keyed = only_train
        .iter()
        .flat_map(|name| look_alike_keys(name).map(|key| (key, name)));
    let keyed: HashMap<String, &String> = keyed.collect();
    let alike = only_test.iter().find_map(|name| {
        let twin = look_alike_keys(name).iter().find_map(|key| keyed.get(key));
        Some(Box::new(spell_apart(twin?, name)))
    });
    Err(DataError::ClassesDiffer {
        train: train.to_path_buf(),
        test: test.to_path_buf(),
        only_train,
        only_test,
        alike,
    })
}

/// The image files of a part, not yet opened.
struct Part {
    folder: PathBuf,
    classes: usize,
    files: FileList,
}

impl Part {
    fn list(folder: PathBuf, classes: &[Class], unused: &mut Unused) -> Result<Part, DataError> {
        let mut files = FileList::default();
        for class in classes {
            let class_folder = folder.join(&class.0);
            let images = image_names(&class_folder, unused)?;
            if images.is_empty() {
                return Err(DataError::ClassWithoutImages {
                    path: class_folder,
                    first: None,
                });
            }
            files.add_class(class_folder, images);
        }
        Ok(Part {
            folder,
            classes: classes.len(),
            files,
        })
    }

    /// Decodes every file now.
    fn decode(self, resize: Resize, notes: &mut Vec<String>) -> Result<Arc<dyn Source>, DataError> {
        let length = resize.bytes();
        let mut bytes = blank_images(self.files.len(), resize)?;
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
            labels.push(self.files.label(index));
        }
        bytes.truncate(labels.len() * length);
        let paths = unreadable.kept().map(|index| self.files.path(index));
        let paths = paths.collect();
        Ok(Arc::new(
            Images::of_views(resize, bytes, labels).with_paths(paths),
        ))
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
        Ok(Arc::new(ImageFiles::new(self.files, resize, unreadable)))
    }

    /// Reads every file on all cores; those for which `read` fails are unreadable.
    fn check_files<T: Send>(
        &self,
        slots: impl ParallelIterator<Item = (usize, T)>,
        read: impl Fn(&Path, T) -> Result<(), DataError> + Sync,
    ) -> Unreadable {
        let failed = slots.filter_map(|(index, slot)| {
            let error = read(&self.files.path(index), slot).err()?;
            Some((index, error))
        });
        let failed: Vec<(usize, DataError)> = failed.collect();
        let mut unreadable = Unreadable::new(self.folder.clone(), self.files.len());
        for (index, error) in failed {
            unreadable.add(index, &self.files.path(index), &error);
        }
        unreadable
    }

    /// Adds a note on unreadable files.
    ///
    /// # Errors
    /// If a class has no readable file, or too many files are unreadable.
    fn check(&self, unreadable: &Unreadable, notes: &mut Vec<String>) -> Result<(), DataError> {
        let mut readable = vec![0usize; self.classes];
        for index in unreadable.kept() {
            readable[self.files.label(index) as usize] += 1;
        }
        if let Some(label) = readable.iter().position(|&count| count == 0) {
            let of_class = |index: usize| self.files.label(index) as usize == label;
            return Err(DataError::ClassWithoutImages {
                path: self.files.folder(label).to_path_buf(),
                first: unreadable.first_where(of_class),
            });
        }
        unreadable.check()?;
        notes.extend(unreadable.note_at_opening());
        Ok(())
    }
}

/// The names of the images in a class folder, in byte-wise order.
fn image_names(class_folder: &Path, unused: &mut Unused) -> Result<Vec<OsString>, DataError> {
    let entries = entries(class_folder, unused)?;
    let is_image = |(name, kind): &(OsString, EntryKind)| {
        let path = || class_folder.join(name);
        match kind {
            EntryKind::File => {
                is_named_as_image(Path::new(name))
                    // A file that cannot be opened may be one; reading it says why.
                    || read_start(&path()).map_or(true, |start| begins_like_an_image(&start))
            }
            // Reading it says where it leads.
            EntryKind::BrokenLink(_) => is_named_as_image(Path::new(name)),
            EntryKind::Folder | EntryKind::Special => false,
        }
    };
    let is_image: Vec<bool> = entries.par_iter().map(is_image).collect();
    let mut images = Vec::new();
    for ((name, kind), is_image) in entries.into_iter().zip(is_image) {
        match kind {
            _ if is_image => images.push(name),
            EntryKind::File => unused.add(NOT_AN_IMAGE, &class_folder.join(name)),
            EntryKind::Folder => unused.add(NESTED, &class_folder.join(name)),
            other => note_unusable(&other, &class_folder.join(name), unused),
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests;
