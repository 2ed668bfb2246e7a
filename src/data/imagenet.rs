//! ImageNet as image files: `train/<class>/<image>` and `val/<class>/<image>`, read as any folder
//! of images, with published mean and deviation.
//!
//! Class folders are named by WordNet ids, such as `n01440764`, and their byte-wise order gives the
//! labels. Where a list of words lies in the directory or in one of the three above it, as in the
//! archive of Kaggle, a class is named by its words, `tench, Tinca tinca`. Of classes with the
//! same words, such as the two named `crane`, each has its id added.
//!
//! Any subset of the classes is a dataset as well.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::folder::{self, IMAGENET};
use super::{DataError, Dataset, Manifest, Request};
use crate::files::{self, LARGEST_TEXT};

/// Names of the list of words: a line for each class, its id, a blank, its words.
const WORDS: [&str; 2] = ["LOC_synset_mapping.txt", "synset_words.txt"];

/// How to sort the validation images.
const SORT_VAL: &str = "sort its images into a folder for each class, as train has: in that folder, with \
    Kaggle's LOC_val_solution.csv, tail -n +2 LOC_val_solution.csv | while IFS=', ' read -r image class \
    rest; do mkdir -p $class; mv $image.JPEG $class/; done; without it, with valprep.sh of \
    github.com/soumith/imagenetloader.torch";

/// How to sort the training images.
const SORT_TRAIN: &str = "unpack the archive of each class into a folder of its name: in that folder, for \
    tar in n*.tar; do mkdir ${tar%.tar}; tar -xf $tar -C ${tar%.tar}; done";

/// Opens the dataset.
///
/// # Panics
/// If the manifest has no constants.
pub(super) fn open(manifest: Manifest, request: &Request) -> Result<Dataset, DataError> {
    let constants = manifest.constants.expect("the manifest has constants");
    let directory = request.directory(manifest.title, IMAGENET.expected)?;
    let listed = folder::list_by_name(directory, &IMAGENET, request);
    let listed = listed.map_err(not_sorted)?;
    let mut dataset = listed.open(request, Some(constants), 0)?;
    match Words::read(directory)? {
        Some(words) => dataset.classes = words.name(&dataset.classes)?,
        None => dataset.notes.push(format!(
            "classes are named by their folders; {} in the directory would name them by words",
            WORDS[0]
        )),
    }
    Ok(dataset)
}

/// The error, or what to do if a part has no class folder.
fn not_sorted(error: DataError) -> DataError {
    let cause: &DataError = match &error {
        DataError::WithUnused { source, .. } => source,
        error => error,
    };
    match cause {
        DataError::TooFewClasses { path, class: None } => DataError::NotSorted {
            path: path.clone(),
            how: match path.file_name().is_some_and(folder::is_train) {
                true => SORT_TRAIN,
                false => SORT_VAL,
            },
        },
        _ => error,
    }
}

/// A list of words.
struct Words {
    path: PathBuf,
    by_id: HashMap<String, String>,
}

impl Words {
    /// Reads the nearest list, if there is one.
    fn read(directory: &Path) -> Result<Option<Words>, DataError> {
        let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_path_buf());
        for above in absolute.ancestors().take(4) {
            for name in WORDS {
                let path = above.join(name);
                match files::read_text(&path, LARGEST_TEXT) {
                    Ok(text) => {
                        let lines = text.lines().filter_map(|line| line.trim().split_once(' '));
                        let lines =
                            lines.map(|(id, words)| (id.to_owned(), words.trim().to_owned()));
                        let by_id = lines.collect();
                        return Ok(Some(Words { path, by_id }));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(DataError::Io { path, source }),
                }
            }
        }
        Ok(None)
    }

    /// The names of classes, given by their ids.
    fn name(&self, ids: &[String]) -> Result<Vec<String>, DataError> {
        let mut uses: HashMap<&String, usize> = HashMap::new();
        for words in self.by_id.values() {
            *uses.entry(words).or_default() += 1;
        }
        let name = |id: &String| match self.by_id.get(id) {
            Some(words) if uses[words] == 1 => Ok(words.clone()),
            Some(words) => Ok(format!("{words} ({id})")),
            None => Err(DataError::UnlistedClass {
                path: self.path.clone(),
                class: id.clone(),
            }),
        };
        ids.iter().map(name).collect()
    }
}

#[cfg(test)]
mod tests;
