//! How a network was trained, as a run directory records it.

use std::path::Path;

use super::error::CliError;
use crate::data::DatasetKind;
use crate::run::{Config, RunDirectory};
use crate::train::EpochMetrics;

/// A run so far.
pub(super) struct Training {
    pub(super) config: Config,
    pub(super) dataset: String,
    /// The epochs so far.
    pub(super) epochs: Vec<EpochMetrics>,
    /// The epoch of the best weights, if a state tells.
    best: Option<u32>,
}

/// The training that a run directory records.
///
/// # Errors
/// If its files cannot be read.
pub(super) fn training(directory: &Path) -> Result<Training, CliError> {
    let run = RunDirectory::open(directory)?;
    let (config, _) = run.config()?;
    let kind: DatasetKind = config.dataset.parse()?;
    Ok(Training {
        dataset: kind.manifest().title,
        epochs: run.history()?.epochs().cloned().collect(),
        best: match run.has_state()? {
            true => run
                .load(&config.network()?)?
                .progress
                .best
                .map(|best| best.epoch),
            false => None,
        },
        config,
    })
}

impl Training {
    /// The epoch of the best weights: that of the state, else the one with the lowest test error,
    /// of equal ones the first.
    pub(super) fn best(&self) -> Option<&EpochMetrics> {
        if let Some(number) = self.best {
            return self.epochs.iter().find(|epoch| epoch.epoch == number);
        }
        let mut best: Option<&EpochMetrics> = None;
        for epoch in &self.epochs {
            if best.is_none_or(|best| epoch.test_top1_error < best.test_top1_error) {
                best = Some(epoch);
            }
        }
        best
    }
}
