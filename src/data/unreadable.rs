//! Counts the files in a part of a dataset that are not readable images.
//!
//! A few stray files are skipped and noted; more than 1 % of the files is an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::DataError;

/// How many unreadable files a message names.
const NAMED: usize = 5;

/// Which of the files of a part are not readable images, and why.
pub(super) struct Unreadable {
    part: PathBuf,
    files: usize,
    reasons: BTreeMap<usize, String>,
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
        let name = file.strip_prefix(&self.part).unwrap_or(file).display();
        self.reasons.insert(index, format!("{name}: {error}"));
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
        found.map(|(_, reason)| reason.clone())
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

    /// A note for the user, if any file is unreadable.
    pub(super) fn note(&self) -> Option<String> {
        match self.len() {
            0 => None,
            count => Some(format!(
                "skipped {count} of {} files in {} that are not readable images: {}",
                self.files,
                self.part.display(),
                self.listed().join(", ")
            )),
        }
    }

    /// The first few files with their reasons, and how many more there are.
    fn listed(&self) -> Vec<String> {
        let mut listed: Vec<String> = self.reasons.values().take(NAMED).cloned().collect();
        match self.len() - listed.len() {
            0 => {}
            more => listed.push(format!("and {more} more")),
        }
        listed
    }
}
