//! What lies in a data directory and is not used, counted by reason.
//!
//! A note names a few entries for each reason, because a directory may hold any number of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::DataError;
use crate::text::{first_few, printable_path};

/// How many entries a note names.
const NAMED: usize = 3;

/// The entries of a data directory that are not used.
pub(super) struct Unused {
    directory: PathBuf,
    groups: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    count: usize,
    /// The first few in order, so that a note does not depend on the order of reading.
    named: BTreeSet<PathBuf>,
}

impl Unused {
    pub(super) fn new(directory: &Path) -> Unused {
        Unused {
            directory: directory.to_path_buf(),
            groups: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, reason: impl Into<String>, path: &Path) {
        let group = self.groups.entry(reason.into()).or_default();
        group.count += 1;
        group.named.insert(path.to_path_buf());
        if group.named.len() > NAMED {
            group.named.pop_last();
        }
    }

    /// A note for each reason.
    pub(super) fn notes(&self) -> Vec<String> {
        let note = |(reason, group): (&String, &Group)| {
            let named = group.named.iter().map(|path| {
                let below = path.strip_prefix(&self.directory).unwrap_or(path);
                printable_path(below)
            });
            let named: Vec<String> = named.collect();
            let directory = printable_path(&self.directory);
            let named = first_few(&named, group.count);
            format!("not used in {directory}: {named} ({reason})")
        };
        self.groups.iter().map(note).collect()
    }

    /// The error with a list of what is not used, which may explain what is missing.
    pub(super) fn attach(&self, error: DataError) -> DataError {
        match error {
            DataError::Io { .. } => error,
            _ if self.groups.is_empty() => error,
            _ => DataError::WithUnused {
                source: Box::new(error),
                unused: self.notes().join("; "),
            },
        }
    }
}
