//! The listing of a large folder, kept in a cache: reading the names of a million files takes
//! minutes on a network's file system.
//!
//! A listing is used as long as no directory that was read for it has another modification time:
//! adding, removing or renaming an entry changes that of its directory. Replacing a file by one
//! of the same name does not, and need not: a listing has names only. A file that is gone all the
//! same is unreadable when it is read.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{FileList, Layout, Listed, Part, Recognise, list};
use crate::data::{DataError, Request};
use crate::rng::hash;

/// Listings of fewer files are not cached: reading them again takes no longer.
const LARGE: usize = if cfg!(test) { 10 } else { 100_000 };

/// A directory changed within this time before it was read may change again without another
/// modification time, where file systems store whole seconds or two.
const SETTLED: Duration = Duration::from_secs(3);

/// What a cached file begins with; another form of the file has another version.
const VERSION: u32 = 1;

/// A cached listing.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// The canonical path of the dataset's directory.
    directory: PathBuf,
    /// The directories that were read, below that one, and their modification times, in
    /// nanoseconds since 1970.
    read: Vec<(PathBuf, u64)>,
    classes: Vec<String>,
    train: Option<StoredPart>,
    test: StoredPart,
    unused: Vec<String>,
}

/// The files of a part.
#[derive(Serialize, Deserialize)]
struct StoredPart {
    folder: PathBuf,
    /// The folder and the files of each class.
    classes: Vec<(PathBuf, Vec<String>)>,
}

/// Lists a dataset folder, or takes its listing from the cache. Files are recognised by their names.
///
/// # Errors
/// If it is no dataset, or a directory cannot be read.
pub(in crate::data) fn list_by_name(
    directory: &Path,
    layout: &Layout,
    request: &Request,
) -> Result<Listed, DataError> {
    let need_train = request.need_train;
    let list = || list(directory, layout, need_train, Recognise::ByName);
    let (Some(cache), Ok(canonical)) = (&request.cache, directory.canonicalize()) else {
        return list();
    };
    let identity = [
        canonical.as_os_str().as_encoded_bytes(),
        layout.expected.as_bytes(),
        &[u8::from(need_train)],
    ];
    let name = format!("listing-{:016x}.json", hash(identity.concat()));
    let stored = cache.read(&name);
    let stored = stored.and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok());
    if let Some(stored) = stored.filter(|stored| stored.is_current(directory, &canonical)) {
        return Ok(stored.restored(directory));
    }
    let begun = SystemTime::now();
    let listed = list()?;
    if listed.files() >= LARGE
        && let Some(stored) = Stored::new(&listed, directory, canonical, begun)
    {
        let bytes = serde_json::to_vec(&stored).expect("its paths are text");
        cache.write(&name, &bytes);
    }
    Ok(listed)
}

impl Stored {
    /// `None` if a name is not UTF-8, or a directory has changed just before it was read or since.
    fn new(
        listed: &Listed,
        directory: &Path,
        canonical: PathBuf,
        begun: SystemTime,
    ) -> Option<Stored> {
        let below = |path: &Path| {
            let below = path.strip_prefix(directory).ok()?;
            below.to_str().map(PathBuf::from)
        };
        let part = |part: &Part| {
            let classes = part.files.folders().iter().zip(0..);
            let classes = classes.map(|(folder, label)| {
                let names = part.files.names(label).iter();
                let names = names.map(|name| name.to_str().map(str::to_owned));
                Some((below(folder)?, names.collect::<Option<_>>()?))
            });
            Some(StoredPart {
                folder: below(&part.folder)?,
                classes: classes.collect::<Option<_>>()?,
            })
        };
        let train = match &listed.train {
            Some(train) => Some(part(train)?),
            None => None,
        };
        let test = part(&listed.test)?;
        let latest = nanoseconds(begun.checked_sub(SETTLED)?)?;
        let mut read = vec![PathBuf::new()];
        for part in train.iter().chain([&test]) {
            read.push(part.folder.clone());
            read.extend(part.classes.iter().map(|(folder, _)| folder.clone()));
        }
        let read = read.into_iter().map(|path| {
            let time = modified(&directory.join(&path)).filter(|time| *time < latest)?;
            Some((path, time))
        });
        Some(Stored {
            version: VERSION,
            directory: canonical.to_str().map(PathBuf::from)?,
            read: read.collect::<Option<_>>()?,
            classes: listed.classes.clone(),
            train,
            test,
            unused: listed.unused.clone(),
        })
    }

    /// Whether it lists this directory, in which no directory has changed.
    fn is_current(&self, directory: &Path, canonical: &Path) -> bool {
        self.version == VERSION
            && self.directory == canonical
            && self
                .read
                .par_iter()
                .all(|(path, time)| modified(&directory.join(path)) == Some(*time))
    }

    fn restored(self, directory: &Path) -> Listed {
        let part = |part: StoredPart| {
            let mut files = FileList::default();
            for (folder, names) in part.classes {
                let names = names.into_iter().map(Into::into);
                files.add_class(directory.join(folder), names.collect());
            }
            Part {
                folder: directory.join(part.folder),
                classes: self.classes.len(),
                files,
            }
        };
        let (train, test) = (self.train.map(part), part(self.test));
        Listed {
            classes: self.classes,
            train,
            test,
            unused: self.unused,
        }
    }
}

/// When the entries of a directory last changed.
fn modified(directory: &Path) -> Option<u64> {
    let metadata = std::fs::metadata(directory).ok()?;
    nanoseconds(metadata.modified().ok()?)
}

/// Nanoseconds since 1970.
fn nanoseconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

#[cfg(test)]
mod tests;
