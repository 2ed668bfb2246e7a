//! Resuming: the saved state, and whether the data is still what it was trained on.

use super::super::dataset::compare_classes;
use super::super::device::DeviceArgs;
use super::super::error::CliError;
use super::super::output::print_event;
use super::super::progress::duration;
use super::args::Args;
use super::config::{Allowed, DATA, resumed_config};
use crate::data::Dataset;
use crate::model::{Description, Network};
use crate::run::{Config, DataRecord, Progress, RunDirectory, SavedState};
use crate::text::{printable_path, quoted};
use crate::train::{Best, EpochOrder, Event, Snapshot};

/// The configuration with which a run resumes, unless that is decided, and its state; no state if
/// nothing was saved.
pub(super) fn load(
    run: &RunDirectory,
    args: &Args,
    allowed: &Allowed<'_>,
    decided: Option<Config>,
) -> Result<(Config, Option<SavedState>), CliError> {
    let (written, is_changed) = run.config()?;
    let state = match run.has_state()? {
        true => Some(run.load(&written.network()?)?),
        false => None,
    };
    let config = match decided {
        Some(config) => config,
        None => {
            let saved = state
                .as_ref()
                .and_then(|state| state.progress.config.as_ref());
            resumed_config(args, allowed, run, written, saved.filter(|_| is_changed))?
        }
    };
    if state.is_none() {
        let text = "the run ended before its first save; it starts from its beginning";
        args.device.say(text);
    }
    Ok((config, state))
}

/// Checks the best weights and the records of a run. Without the weights, the best of the epochs
/// that follow takes their place, if any follow. Nothing is written.
pub(super) fn check_records(
    run: &RunDirectory,
    state: &mut SavedState,
    has_ended: bool,
    log: &DeviceArgs,
) -> Result<(), CliError> {
    run.check_records(&state.progress)?;
    match (run.check_best(state)?, has_ended) {
        (false, _) => {}
        (true, true) => log.say("note: best.safetensors is missing"),
        (true, false) => {
            state.progress.best = None;
            log.say(
                "note: best.safetensors is missing; it will hold the best of the epochs from now \
                 on",
            );
        }
    }
    Ok(())
}

/// Completes an interrupted save, and says which files that were.
pub(super) fn complete(
    run: &RunDirectory,
    network: &Network,
    description: &Description,
    (snapshot, progress): (&Snapshot, &Progress),
    log: &DeviceArgs,
) -> Result<(), CliError> {
    for name in run.complete(network, description, snapshot, progress)? {
        log.say(&format!(
            "note: {name} was not that of the last save and is written again"
        ));
    }
    Ok(())
}

/// Ends a run that has done all of its epochs, or has run out of patience.
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
    let epochs = state.progress.position.epoch - 1;
    let best = state.progress.best;
    let patience = config
        .recipe
        .stale_epochs(epochs, best.map(|best| best.epoch));
    match best.filter(|_| !is_recorded) {
        Some(best) => {
            let event = Event::Finished {
                best_epoch: best.epoch,
                best_top1_error: best.test_top1_error,
                seconds,
                patience,
            };
            for note in run.forget_from(state.progress.position.epoch)? {
                log.say(&format!("note: {note}"));
            }
            run.record(&event)?;
            log.say(&finished(run, &best, seconds, patience));
            match json {
                true => print_event(&event.to_json(), || true),
                false => Ok(()),
            }
        }
        None => {
            let run = printable_path(run.path());
            Err(CliError::Usage(match patience {
                Some(epochs) => format!(
                    "{run} ended after {epochs} epochs without a lower test error; to continue, \
                     raise --patience"
                ),
                None => format!(
                    "{run} has completed all of its {} epochs; to continue, raise --epochs",
                    config.recipe.epochs
                ),
            }))
        }
    }
}

/// The message of a run that has ended, early if it ran out of patience.
pub(super) fn finished(
    run: &RunDirectory,
    best: &Best,
    seconds: f64,
    patience: Option<u32>,
) -> String {
    let files = ["best", "last"].map(|name| (name, run.file(&format!("{name}.safetensors"))));
    // A user may have removed the best weights.
    let files: Vec<_> = files.iter().filter(|(_, path)| path.exists()).collect();
    let named = files
        .iter()
        .map(|(name, path)| format!("{} ({name})", printable_path(path)));
    let early = match patience {
        Some(1) => ", early: the last epoch has not lowered the test error".to_owned(),
        Some(epochs) => {
            format!(", early: the last {epochs} epochs have not lowered the test error")
        }
        None => String::new(),
    };
    format!(
        "finished in {}{early}; best test error {:.2} % in epoch {}\nweights: {}; classify with\n  \
         pyr-wgpu predict {} IMAGE",
        duration(seconds),
        best.test_top1_error,
        best.epoch,
        named.collect::<Vec<_>>().join(" and "),
        files
            .first()
            .map(|(_, path)| quoted(path))
            .unwrap_or_default()
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
