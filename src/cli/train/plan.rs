//! What a run is going to do: everything that is decided before the device is opened.

use std::path::{Component, Path, PathBuf};

use super::super::cache;
use super::super::error::CliError;
use super::args::Args;
use super::config::Allowed;
use super::fine_tune;
use super::resume;
use crate::data::{self, Augmentation, DataError, Dataset, DatasetKind};
use crate::model::{Description, Network, Preprocessing};
use crate::run::{Config, DataRecord, Progress, RUNS, SavedState};
use crate::text::printable_path;
use crate::train::{Recipe, Snapshot};

/// Everything that is decided before the first step.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) network: Network,
    pub(super) description: Description,
    pub(super) dataset: Dataset,
    pub(super) data: DataRecord,
    pub(super) start: Start,
    /// What to tell the user about it.
    pub(super) notes: Vec<String>,
}

/// Where a run begins.
pub(super) enum Start {
    /// With random weights.
    Random,
    /// With the weights of a checkpoint.
    Weights(Snapshot),
    /// Where it was saved: the state to start from, and the progress in the file.
    Saved(Snapshot, Box<Progress>),
}

impl Start {
    pub(super) fn is_saved(&self) -> bool {
        matches!(self, Start::Saved(..))
    }
}

/// Opens the dataset, and checks it against the state of a resumed run.
///
/// # Errors
/// If the dataset cannot be opened, is not that of the state, or would contain a new run's files.
pub(super) fn prepare(
    args: &Args,
    allowed: &Allowed<'_>,
    mut config: Config,
    is_resumed: bool,
    state: Option<SavedState>,
) -> Result<Plan, CliError> {
    let kind: DatasetKind = config.dataset.parse()?;
    let origin = match (&state, &config.from) {
        (None, Some(path)) => Some(fine_tune::origin(path, &config)?),
        _ => None,
    };
    let resize = match (&state, &origin) {
        (Some(state), _) => state.description.preprocessing.resize,
        (None, Some(model)) => model.description.preprocessing.resize,
        (None, None) => config.network.resize(),
    };
    let opened = data::open(&data::Request {
        kind,
        dir: config.data.clone(),
        resize,
        need_train: true,
        augmentation: match config.recipe.augment {
            true => config.augmentation,
            false => Augmentation::Crop,
        },
        cache: cache::listings(),
    });
    let dataset = match opened {
        Err(error @ DataError::MissingDirectory { .. }) if is_resumed => {
            return Err(CliError::Data(format!(
                "{error}; if the data has moved, give its new directory with --data DIR --allow data"
            )));
        }
        opened => opened?,
    };
    if !is_resumed {
        check_run_dir(args.files.run_dir.as_deref(), &dataset)?;
    }
    let train = dataset.train.as_ref().expect("it was requested");
    let data = DataRecord {
        test_images: dataset.test.len(),
        fingerprints: [
            data::fingerprint(&**train)?,
            data::fingerprint(&*dataset.test)?,
        ],
    };
    let mut notes = Vec::new();
    let (start, description) = match state {
        Some(state) => {
            let (snapshot, changes) = resume::check(&config, allowed, &dataset, &data, &state)?;
            notes.extend(changes);
            (
                Start::Saved(snapshot, Box::new(state.progress)),
                state.description,
            )
        }
        None => {
            let classes = dataset.classes.len() as u32;
            if let Some(wanted) = args.network.classes.filter(|wanted| *wanted != classes) {
                return Err(CliError::Usage(format!(
                    "--classes is {wanted}, but the dataset has {classes} classes; leave the flag \
                     out"
                )));
            }
            config.network.classes = classes;
            config.network.validate()?;
            let preprocessing = match &origin {
                Some(model) => model.description.preprocessing,
                None => Preprocessing::new(&config.network, dataset.mean, dataset.std),
            };
            let description = Description {
                network: config.network.clone(),
                classes: dataset.classes.clone(),
                preprocessing,
            };
            (Start::Random, description)
        }
    };
    let network = config.network()?;
    let start = match &origin {
        None => start,
        Some(model) => {
            let (snapshot, origin) = fine_tune::start(&config, model, &network, &dataset);
            notes.extend(origin);
            Start::Weights(snapshot)
        }
    };
    let train = dataset.train.as_ref().expect("it was requested");
    if args.data.workers.is_some() && train.resident().is_some() {
        notes.push("note: --workers has no effect: the images fit in memory".to_owned());
    }
    notes.extend(dataset.notes.iter().map(|note| format!("note: {note}")));
    notes.extend(warning_of_milestones(&config.recipe));
    Ok(Plan {
        config,
        network,
        description,
        dataset,
        data,
        start,
        notes,
    })
}

/// Refuses a directory for a new run in the folders of the dataset's images.
fn check_run_dir(given: Option<&Path>, dataset: &Dataset) -> Result<(), CliError> {
    let path = given.unwrap_or(Path::new(RUNS));
    let resolved = resolved(path);
    let holds = |folder: &&PathBuf| {
        let folder = folder.canonicalize();
        folder.is_ok_and(|folder| resolved.starts_with(folder))
    };
    // The last one is the smallest.
    match dataset.folders.iter().rfind(holds) {
        None => Ok(()),
        Some(folder) => Err(CliError::Usage(format!(
            "run directory {} is inside {}, where the run's files would become a part of the \
             dataset; choose another with --run-dir",
            printable_path(path),
            printable_path(folder)
        ))),
    }
}

/// An absolute path without links, of which the end need not exist.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or(path.to_owned());
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                resolved.pop();
            }
            component => resolved.push(component),
        }
        resolved = resolved.canonicalize().unwrap_or(resolved);
    }
    resolved
}

/// A warning of a schedule that never drops the learning rate.
fn warning_of_milestones(recipe: &Recipe) -> Option<String> {
    let proposed = recipe.proposed_milestones();
    let list: Vec<String> = proposed.iter().map(u32::to_string).collect();
    (recipe.never_drops() && recipe.epochs > 1).then(|| {
        format!(
            "warning: no milestone lies within {} epochs, so the learning rate never drops; \
             consider --milestones {}",
            recipe.epochs,
            list.join(",")
        )
    })
}
