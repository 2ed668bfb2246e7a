//! Counts the image files in a part of a dataset that cannot be read.
//!
//! A few are skipped and noted; more than 1 % is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::DataError;
use crate::text::{first_few, printable_path};

/// How many unreadable files a message names.
const NAMED: usize = 5;

/// Which of the image files of a part cannot be read, and why.
pub(super) struct Unreadable {
    part: PathBuf,
    files: usize,
    reasons: BTreeMap<usize, Reason>,
}

/// Why a file cannot be read.
struct Reason {
    /// Its path below the part, printable.
    file: String,
    error: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file, self.error)
    }
}

impl Unreadable {
    /// An empty tally for a folder of so many files.
    pub(super) fn new(part: PathBuf, files: usize) -> Unreadable {
        Unreadable {
            part,
            files,
            reasons: BTreeMap::new(),
        }
    }

    /// Records file number `index` as unreadable.
    pub(super) fn add(&mut self, index: usize, file: &Path, error: &DataError) {
        let reason = Reason {
            file: printable_path(file.strip_prefix(&self.part).unwrap_or(file)),
            error: error.to_string(),
        };
        self.reasons.insert(index, reason);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.reasons.len()
    }

    /// Whether file number `index` is one of them.
    pub(super) fn has(&self, index: usize) -> bool {
        self.reasons.contains_key(&index)
    }

    /// The readable files.
    pub(super) fn kept(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.files).filter(|&index| !self.has(index))
    }

    /// The first unreadable file for which `wanted` holds.
    pub(super) fn first_where(&self, wanted: impl Fn(usize) -> bool) -> Option<String> {
        let found = self.reasons.iter().find(|(index, _)| wanted(**index));
        found.map(|(_, reason)| reason.to_string())
    }

    /// The unreadable files in order, with the errors of reading them.
    pub(super) fn errors(&self) -> impl Iterator<Item = (usize, &str)> {
        self.reasons
            .iter()
            .map(|(&index, reason)| (index, &*reason.error))
    }

    /// An error if more than 1 % of the files are unreadable.
    pub(super) fn check(&self) -> Result<(), DataError> {
        match self.len() * 100 > self.files {
            false => Ok(()),
            true => Err(DataError::TooManyUnreadable {
                path: self.part.clone(),
                unreadable: self.len(),
                files: self.files,
                listed: self.listed(),
            }),
        }
    }

    /// A note for the user on files found at opening, if there are any.
    pub(super) fn note_at_opening(&self) -> Option<String> {
        self.note("are skipped")
    }

    /// A note for the user on all files, if some were found later.
    pub(super) fn note_later(&self) -> Option<String> {
        self.note("are left out of evaluation and, in training, replaced by others of their class")
    }

    fn note(&self, consequence: &str) -> Option<String> {
        (self.len() > 0).then(|| {
            format!(
                "{} of {} image files in {} cannot be read and {consequence}: {}",
                self.len(),
                self.files,
                printable_path(&self.part),
                self.listed()
            )
        })
    }

    /// The first few files with their reasons, and how many more there are.
    fn listed(&self) -> String {
        let named = self.reasons.values().take(NAMED).map(Reason::to_string);
        first_few(&named.collect::<Vec<_>>(), self.len())
    }
}
