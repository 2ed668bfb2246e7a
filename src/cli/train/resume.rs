//! Resuming: the saved state, and whether the data is still what it was trained on.

use super::super::dataset::compare_classes;
use super::super::device::DeviceArgs;
use super::super::error::CliError;
use super::super::output::print_event;
use super::super::progress::duration;
use super::config::{Allowed, DATA};
use crate::data::Dataset;
use crate::model::Network;
use crate::run::{Config, DataRecord, Progress, RunDirectory, SavedState};
use crate::text::{printable_path, quoted};
use crate::train::{Best, EpochOrder, Event, Snapshot};

/// Reads the state of a run, and completes an interrupted save. `None` if nothing was saved.
pub(super) fn load(
    run: &RunDirectory,
    config: &Config,
    log: &DeviceArgs,
) -> Result<Option<SavedState>, CliError> {
    if !run.has_state()? {
        log.say("the run ended before its first save; it starts from its beginning");
        return Ok(None);
    }
    let network = Network::new(&config.network)?;
    let mut state = run.load(&network)?;
    for name in run.complete(&network, &state)? {
        log.say(&format!(
            "note: {name} was not that of the last save and is written again"
        ));
    }
    if run.check_best(&mut state)? {
        log.say(
            "note: best.safetensors is missing; it will hold the best of the epochs from now on",
        );
    }
    Ok(Some(state))
}

/// Ends a run that has done all of its epochs.
///
/// # Errors
/// If its end was recorded before, since there is nothing to do.
pub(super) fn end(
    run: &RunDirectory,
    config: &Config,
    state: &SavedState,
    log: &DeviceArgs,
    json: bool,
) -> Result<(), CliError> {
    let history = run.history()?;
    let seconds = history.epochs().map(|row| row.epoch_seconds).sum();
    let is_recorded = matches!(history.events.last(), Some(Event::Finished { .. }));
    match state.progress.best.filter(|_| !is_recorded) {
        Some(best) => {
            let event = Event::Finished {
                best_epoch: best.epoch,
                best_top1_error: best.test_top1_error,
                seconds,
            };
            run.forget_from(state.progress.position.epoch)?;
            run.record(&event)?;
            log.say(&finished(run, &best, seconds));
            match json {
                true => print_event(&event.to_json(), || true),
                false => Ok(()),
            }
        }
        None => Err(CliError::Usage(format!(
            "{} has completed all of its {} epochs; to continue, raise --epochs",
            printable_path(run.path()),
            config.recipe.epochs
        ))),
    }
}

/// The message of a run that has done all of its epochs.
pub(super) fn finished(run: &RunDirectory, best: &Best, seconds: f64) -> String {
    format!(
        "finished in {}; best test error {:.2} % in epoch {}\nweights: {} (best) and {} (last); \
         classify with\n  pyr-wgpu predict {} IMAGE",
        duration(seconds),
        best.test_top1_error,
        best.epoch,
        printable_path(&run.file("best.safetensors")),
        printable_path(&run.file("last.safetensors")),
        quoted(&run.file("best.safetensors"))
    )
}

/// Compares the dataset with the one that the state was trained on. Returns the state to start
/// from, and notes on what has changed.
///
/// # Errors
/// If the data has changed and that is not allowed.
pub(super) fn check(
    config: &Config,
    allowed: &Allowed<'_>,
    dataset: &Dataset,
    data: &DataRecord,
    state: &SavedState,
) -> Result<(Snapshot, Vec<String>), CliError> {
    compare_classes(&state.description, true, &dataset.classes)?;
    let images = dataset.train.as_ref().map_or(0, |source| source.len());
    let changes = changes(images, data, &state.progress).join(", ");
    let mut notes = Vec::new();
    match (changes.is_empty(), allowed.has(DATA)) {
        (true, _) => {}
        (false, true) => notes.push(format!("note: the data has changed: {changes}")),
        (false, false) => {
            return Err(CliError::Data(format!(
                "the data has changed since the run was saved: {changes}; restore it, or accept \
                 the change with --allow data"
            )));
        }
    }
    let mut snapshot = state.snapshot.clone();
    let order = EpochOrder {
        seed: config.seed,
        images,
        batch_size: config.recipe.batch_size,
    };
    let position = &mut snapshot.position;
    if !position.fits(&order) {
        position.restart_epoch();
        notes.push(format!(
            "note: seed, batch size or number of images has changed, so epoch {} starts from its \
             first step",
            position.epoch
        ));
    }
    Ok((snapshot, notes))
}

/// How the data differs from that of the saved run, apart from its classes.
fn changes(images: usize, data: &DataRecord, progress: &Progress) -> Vec<String> {
    let before = progress.data;
    let parts = [
        (
            "training",
            progress.position.order.map(|order| order.images),
            images,
        ),
        (
            "test",
            before.map(|data| data.test_images),
            data.test_images,
        ),
    ];
    let mut changes = Vec::new();
    for (index, (part, number, now)) in parts.into_iter().enumerate() {
        let fingerprint = |data: &DataRecord| data.fingerprints[index];
        match number {
            Some(number) if number != now => {
                changes.push(format!("{now} {part} images instead of {number}"));
            }
            _ if before.is_some_and(|before| fingerprint(&before) != fingerprint(data)) => {
                changes.push(format!(
                    "{part} images have other pixels, labels or another order"
                ));
            }
            _ => {}
        }
    }
    changes
}
