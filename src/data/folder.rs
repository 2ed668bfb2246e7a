//! A folder of images as a dataset: `train/<class>/<image>` and `test/<class>/<image>`.
//!
//! `training` is accepted in place of `train`, and `testing`, `val`, `valid` or `validation` in
//! place of `test`, each in any case (`parts`).
//! Classes are the folder names of the training part in byte-wise order, images the files in
//! a class folder in byte-wise order of their names; folders inside a class folder are not
//! searched. Two classes of a part must not look alike, as `é` in two Unicode normal forms does.
//!
//! A file in a class folder is an image if its name has the extension of an image format or, in a
//! folder that fits into memory, its content begins like one (`formats`). An image that cannot be
//! read, also because it is of a format that is not supported or a link that leads nowhere, is
//! noted and skipped or replaced; more than 1 % of a part's images is an error. Everything else that
//! lies in the directory is not used, counts for nothing, and is noted once for each reason
//! (`unused`): files that are no images, hidden ones, files and folders out of place.
//!
//! If the images of the opened parts fit into memory together, they are decoded once, on all
//! cores. Otherwise, and where training augments the decoded images
//! ([`Augmentation::ImageNet`]), they are decoded when they are read (`image_files`): no file of a
//! large folder is opened before, and the names are kept in a cache (`listing`).

mod entries;
mod inspect;
mod listing;
mod parts;

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::decode::read_start;
use super::formats::{begins_like_an_image, is_named_as_image};
use super::image_files::{FileList, ImageFiles};
use super::images::{Images, blank_images};
use super::names::{find_alike, look_alike_keys, spell_apart};
use super::statistics::measure;
use super::unreadable::Unreadable;
use super::unused::Unused;
use super::{
    Augmentation, Constants, DataError, Dataset, HOST_LIMIT, Manifest, Request, Resize, Source,
    decode_image_file,
};
use crate::text::name_of;
pub use inspect::{Example, Finding, FindingKind, InspectedPart, Inspection, inspect_folder};
pub(super) use listing::list_by_name;
pub(super) use parts::{IMAGENET, Layout, is_train};

use entries::{
    EntryKind, NESTED, NOT_AN_IMAGE, NOT_NAMED_AS_IMAGE, OUTSIDE_CLASSES, entries, note_unusable,
};
use parts::FOLDER;

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
    let directory = request.directory(manifest.title, FOLDER.expected)?;
    // Which files are images must not depend on whether the training part is needed.
    let whole = Request {
        need_train: true,
        ..request.clone()
    };
    let listed = list_by_name(directory, &FOLDER, &whole)
        .or_else(|_| list_by_name(directory, &FOLDER, request));
    let listed = match listed {
        Ok(listed) if listed.bytes(request.resize) > resident_limit => listed.of(request),
        // Files without an extension may be images, too, or be all images of a class.
        _ => list(directory, &FOLDER, request.need_train, Recognise::ByContent)?,
    };
    listed.open(request, manifest.constants, resident_limit)
}

/// How files that are images are told from others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recognise {
    /// By the extension alone.
    ByName,
    /// By the extension or, without one, by the first bytes.
    ByContent,
}

/// What is in a dataset folder, before any image is read.
pub(super) struct Listed {
    classes: Vec<String>,
    train: Option<Part>,
    test: Part,
    /// A note on entries that are not used, for each reason.
    unused: Vec<String>,
}

/// Lists the classes and the files of the parts.
fn list(
    directory: &Path,
    layout: &Layout,
    need_train: bool,
    recognise: Recognise,
) -> Result<Listed, DataError> {
    let mut unused = Unused::new(directory);
    let listed = list_parts(directory, layout, need_train, recognise, &mut unused);
    let (classes, train, test) = listed.map_err(|error| unused.attach(error))?;
    Ok(Listed {
        classes: classes.iter().map(|class| class.name()).collect(),
        train,
        test,
        unused: unused.notes(),
    })
}

/// The classes, and the training part, if it is needed, and the test part.
fn list_parts(
    directory: &Path,
    layout: &Layout,
    need_train: bool,
    recognise: Recognise,
    unused: &mut Unused,
) -> Result<(Vec<Class>, Option<Part>, Part), DataError> {
    let parts = parts::find(directory, layout, need_train, unused)?;
    let mut classes = class_folders(&parts.test, unused)?;
    if let Some(train) = &parts.train {
        let train_classes = class_folders(train, unused)?;
        compare(train, &train_classes, &parts.test, &classes)?;
        classes = train_classes;
    }
    let mut part = |folder| Part::list(folder, &classes, recognise, unused);
    let train = parts.train.filter(|_| need_train);
    let train = train.map(&mut part).transpose()?;
    let test = part(parts.test)?;
    Ok((classes, train, test))
}

impl Listed {
    /// The training part, if it was needed, and the test part.
    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.train.iter().chain([&self.test])
    }

    /// Without the training part, if it is not needed.
    fn of(self, request: &Request) -> Listed {
        Listed {
            train: self.train.filter(|_| request.need_train),
            ..self
        }
    }

    /// Number of image files.
    fn files(&self) -> usize {
        self.parts().map(|part| part.files.len()).sum()
    }

    /// What all images take after the resize.
    fn bytes(&self, resize: Resize) -> u64 {
        self.files() as u64 * resize.bytes() as u64
    }

    /// Opens the images, in memory if they take at most `resident_limit` bytes; measures mean and
    /// deviation if there are no constants.
    pub(super) fn open(
        self,
        request: &Request,
        constants: Option<Constants>,
        resident_limit: u64,
    ) -> Result<Dataset, DataError> {
        let resize = request.resize;
        let resident = self.bytes(resize) <= resident_limit;
        let mut folders = Vec::new();
        for part in self.parts() {
            folders.push(part.folder.clone());
            folders.extend_from_slice(part.files.folders());
        }
        let mut notes = self.unused;
        let mut open =
            |part: Part, augmentation: Augmentation| match resident && augmentation.is_crop() {
                true => part.decode(resize, &mut notes),
                false => Ok(part.on_disk(resize, augmentation)),
            };
        let train = self.train.map(|part| open(part, request.augmentation));
        let train = train.transpose()?;
        let test = open(self.test, Augmentation::Crop)?;
        let (mean, std) = match constants {
            Some(Constants { mean, std }) => (mean, std),
            None => measure(train.as_deref().unwrap_or(&*test))?,
        };
        Ok(Dataset {
            classes: self.classes,
            mean,
            std,
            train,
            test,
            folders,
            notes,
        })
    }
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
    for (name, kind) in entries(part, unused)? {
        match kind {
            EntryKind::Folder => classes.push(Class(name)),
            EntryKind::File => unused.add(OUTSIDE_CLASSES, &part.join(name)),
            other => note_unusable(&other, &part.join(name), unused),
        }
    }
    if let Some(names) = find_alike(classes.iter().map(Class::name)) {
        return Err(DataError::ClassesAlike {
            path: part.to_path_buf(),
            names,
        });
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
    fn list(
        folder: PathBuf,
        classes: &[Class],
        recognise: Recognise,
        unused: &mut Unused,
    ) -> Result<Part, DataError> {
        let mut files = FileList::default();
        for class in classes {
            let class_folder = folder.join(&class.0);
            let images = image_names(&class_folder, recognise, unused)?;
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

    /// Leaves the files where they are, to be decoded when they are read.
    fn on_disk(self, resize: Resize, augmentation: Augmentation) -> Arc<dyn Source> {
        Arc::new(ImageFiles::new(
            self.folder,
            self.files,
            resize,
            augmentation,
        ))
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
fn image_names(
    class_folder: &Path,
    recognise: Recognise,
    unused: &mut Unused,
) -> Result<Vec<OsString>, DataError> {
    let entries = entries(class_folder, unused)?;
    let is_image = |(name, kind): &(OsString, EntryKind)| {
        let is_named = is_named_as_image(Path::new(name));
        match kind {
            EntryKind::File => {
                is_named
                    || recognise == Recognise::ByContent
                        // A file that cannot be opened may be one; reading it says why.
                        && read_start(&class_folder.join(name))
                            .map_or(true, |start| begins_like_an_image(&start))
            }
            // Reading it says where it leads.
            EntryKind::BrokenLink(_) => is_named,
            EntryKind::Folder | EntryKind::Special => false,
        }
    };
    let is_image: Vec<bool> = entries.par_iter().map(is_image).collect();
    let not_an_image = match recognise {
        Recognise::ByName => NOT_NAMED_AS_IMAGE,
        Recognise::ByContent => NOT_AN_IMAGE,
    };
    let mut images = Vec::new();
    for ((name, kind), is_image) in entries.into_iter().zip(is_image) {
        match kind {
            _ if is_image => images.push(name),
            EntryKind::File => unused.add(not_an_image, &class_folder.join(name)),
            EntryKind::Folder => unused.add(NESTED, &class_folder.join(name)),
            other => note_unusable(&other, &class_folder.join(name), unused),
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests;
