//! The dataset of a command: its flags, and whether it is the one that a model was trained on.

use std::path::Path;

use super::error::CliError;
use crate::data::{DatasetKind, spell_apart};
use crate::model::Description;
use crate::text::printable_path;

/// Checks that `--dataset` and `--data` fit each other.
///
/// # Errors
/// If a directory is given for a dataset that has none.
pub(super) fn check(kind: Option<DatasetKind>, data: Option<&Path>) -> Result<(), CliError> {
    let Some(path) = data else { return Ok(()) };
    let path = printable_path(path);
    match kind {
        None => Err(CliError::Usage(format!(
            "--data {path} needs the name of the dataset as well, as in --dataset folder; there \
             are {}",
            DatasetKind::names("and")
        ))),
        Some(DatasetKind::Shapes) => Err(CliError::Usage(format!(
            "the dataset shapes is drawn by the program and reads no files; leave out --data \
             {path}, or name another --dataset"
        ))),
        Some(_) => Ok(()),
    }
}

/// Checks that a dataset has the classes of a model: by name if the model names its classes, else
/// by number.
///
/// # Errors
/// The first difference.
pub(super) fn compare_classes(
    model: &Description,
    named: bool,
    classes: &[String],
) -> Result<(), CliError> {
    let own = &model.classes;
    if own.len() != classes.len() {
        return Err(CliError::Checkpoint(format!(
            "the checkpoint has {} classes, the dataset {}; was it trained on another dataset?",
            own.len(),
            classes.len()
        )));
    }
    let mut pairs = own.iter().zip(classes).enumerate();
    match pairs.find(|(_, (a, b))| named && a != b) {
        Some((index, (a, b))) => {
            let [a, b] = spell_apart(a, b);
            Err(CliError::Checkpoint(format!(
                "class {index} is `{a}` in the checkpoint and `{b}` in the dataset; was it \
                 trained on another dataset?"
            )))
        }
        None => Ok(()),
    }
}
