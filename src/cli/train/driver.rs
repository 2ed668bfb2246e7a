//! The loop around a trainer: progress, saves, epochs, signals.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::error::CliError;
use super::super::print_json;
use super::super::progress::{Progress, duration};
use super::super::signals::Signals;
use super::Plan;
use super::args::{Args, Every};
use crate::run::{Best, EpochMetrics, RunDirectory};
use crate::train::{Position, Snapshot, Totals, Trainer};

/// Drives a trainer to the end of its epochs, or until a signal.
pub(super) struct Driver<'a> {
    pub(super) plan: &'a Plan,
    pub(super) run: &'a RunDirectory,
    pub(super) args: &'a Args,
    pub(super) best: Option<Best>,
    pub(super) signals: Signals,
    pub(super) saved: Instant,
    /// Notes of the data that the user has heard.
    pub(super) told: Vec<String>,
}

impl Driver<'_> {
    /// Trains until the last epoch, an error or a signal.
    ///
    /// # Errors
    /// See [`CliError`]; what was saved stays.
    pub(super) fn drive(mut self, trainer: &mut Trainer) -> Result<(), CliError> {
        let begun = Instant::now();
        let start = trainer.position();
        self.event(json!({
            "event": if self.plan.start.is_some() { "resumed" } else { "started" },
            "epoch": start.epoch,
            "step": start.step,
            "run": self.run.path(),
        }))?;
        while !trainer.finished() {
            let result = self.epoch(trainer);
            if let Err(error) = &result {
                if !matches!(error, CliError::Stopped(_)) {
                    let text = error.message().unwrap_or_default();
                    self.event(json!({"event": "failed", "error": text}))?;
                }
                return result;
            }
        }
        let best = self.best.expect("at least one epoch was evaluated");
        self.event(json!({
            "event": "finished",
            "best_epoch": best.epoch,
            "best_top1_error": best.test_top1_error,
            "seconds": begun.elapsed().as_secs_f64(),
        }))?;
        let run = self.run.path().display();
        self.args.device.say(&format!(
            "finished in {}; best test error {:.2} % in epoch {}\nweights: {run}/best.safetensors \
             (best) and {run}/last.safetensors (last); classify with\n  pyr-wgpu predict {run}/best.safetensors IMAGE",
            duration(begun.elapsed().as_secs_f64()),
            best.test_top1_error,
            best.epoch
        ));
        Ok(())
    }

    fn epoch(&mut self, trainer: &mut Trainer) -> Result<(), CliError> {
        let begun = Instant::now();
        let epoch = trainer.position().epoch;
        let epochs = self.plan.config.recipe.epochs;
        let total = trainer.images_per_epoch() as u64;
        let batch = self.plan.config.recipe.batch_size as u64;
        let mut done = (u64::from(trainer.position().step) * batch).min(total);
        let label = format!("epoch {epoch}/{epochs}");
        let mut progress = Progress::new(&label, done, total, self.args.device.quiet);
        let mut shown = Instant::now();
        while !trainer.epoch_done() {
            done += trainer.step()? as u64;
            if shown.elapsed() >= Duration::from_secs(1) {
                let totals = pollster::block_on(trainer.collect())?;
                shown = Instant::now();
                let waited = trainer.waited().as_secs_f64();
                progress.update(done, || {
                    format!(
                        ", loss {:.3}, error {:.1} %, waited for data {waited:.1} s",
                        totals.mean_loss(),
                        totals.top1_error()
                    )
                });
            }
            if let Some(code) = self.signals.asked() {
                progress.finish();
                return self.stop(trainer, code);
            }
            if self.save_is_due(trainer.position().step) && !trainer.epoch_done() {
                self.save(trainer)?;
            }
        }
        let totals = pollster::block_on(trainer.collect())?;
        let rate = progress.rate();
        progress.finish();
        let waited = trainer.waited().as_secs_f64();
        let tested = self.evaluate(trainer, &label)?;
        let classes = self.plan.description.classes.len();
        let row = EpochMetrics {
            epoch,
            learning_rate: self.plan.config.recipe.learning_rate(epoch),
            train_loss: totals.mean_loss(),
            train_top1_error: totals.top1_error(),
            test_loss: tested.mean_loss(),
            test_top1_error: tested.top1_error(),
            test_top5_error: tested.top5_error(classes),
            images_per_second: rate,
            data_wait_seconds: waited,
            epoch_seconds: begun.elapsed().as_secs_f64(),
            device_bytes: trainer.engine().bytes(),
        };
        self.report(&row)?;
        self.tell_of_data();
        trainer.next_epoch();
        let snapshot = pollster::block_on(trainer.snapshot())?;
        let improved = self
            .best
            .is_none_or(|best| row.test_top1_error < best.test_top1_error);
        if improved {
            self.best = Some(Best {
                epoch,
                test_top1_error: row.test_top1_error,
            });
            self.run
                .save_best(&self.plan.network, &self.plan.description, &snapshot)?;
        }
        self.store(&snapshot)?;
        match self.signals.asked().filter(|_| !trainer.finished()) {
            Some(code) => self.stopped(&snapshot, code),
            None => Ok(()),
        }
    }

    fn evaluate(&self, trainer: &mut Trainer, label: &str) -> Result<Totals, CliError> {
        let total = self.plan.dataset.test.len() as u64;
        let label = format!("{label} test");
        let mut progress = Progress::new(&label, 0, total, self.args.device.quiet);
        let tested = trainer.evaluate(async |done| progress.update(done as u64, String::new));
        let tested = pollster::block_on(tested)?;
        progress.finish();
        Ok(tested)
    }

    /// Tells what reading images brought to light since the last epoch.
    fn tell_of_data(&mut self) {
        let sources = [
            self.plan.dataset.train.as_ref(),
            Some(&self.plan.dataset.test),
        ];
        let notes: Vec<String> = sources
            .into_iter()
            .flatten()
            .flat_map(|s| s.notes())
            .collect();
        for note in notes.iter().filter(|note| !self.told.contains(note)) {
            self.args.device.say(&format!("note: {note}"));
        }
        self.told = notes;
    }

    /// Tells of a finished epoch.
    fn report(&self, row: &EpochMetrics) -> Result<(), CliError> {
        self.run.epoch(row)?;
        let mut event = serde_json::to_value(row).expect("metrics are plain data");
        event["event"] = json!("epoch");
        self.event(event)?;
        self.args.device.say(&format!(
            "epoch {}/{}: train loss {:.4}, error {:.2} %; test loss {:.4}, error {:.2} %; {:.0} \
             img/s, {}",
            row.epoch,
            self.plan.config.recipe.epochs,
            row.train_loss,
            row.train_top1_error,
            row.test_loss,
            row.test_top1_error,
            row.images_per_second,
            duration(row.epoch_seconds)
        ));
        Ok(())
    }

    fn save_is_due(&self, step: u32) -> bool {
        match self.args.files.checkpoint_every {
            None => false,
            Some(Every::Steps(n)) => step.is_multiple_of(n),
            Some(Every::Time(time)) => self.saved.elapsed() >= time,
        }
    }

    fn save(&mut self, trainer: &mut Trainer) -> Result<Snapshot, CliError> {
        let snapshot = pollster::block_on(trainer.snapshot())?;
        self.store(&snapshot)?;
        Ok(snapshot)
    }

    fn store(&mut self, snapshot: &Snapshot) -> Result<(), CliError> {
        self.run.save(
            &self.plan.network,
            &self.plan.description,
            snapshot,
            self.best,
        )?;
        self.saved = Instant::now();
        let position = &snapshot.position;
        self.event(json!({
            "event": "saved",
            "epoch": position.epoch,
            "step": position.step,
        }))
    }

    /// Saves and ends the run, because a signal asked for it.
    fn stop(&mut self, trainer: &mut Trainer, code: u8) -> Result<(), CliError> {
        let snapshot = self.save(trainer)?;
        self.stopped(&snapshot, code)
    }

    fn stopped(&self, snapshot: &Snapshot, code: u8) -> Result<(), CliError> {
        let Position { epoch, step, .. } = snapshot.position;
        self.event(json!({"event": "stopped", "epoch": epoch, "step": step}))?;
        self.args.device.say(&format!(
            "stopped and saved at epoch {epoch}, step {step}; continue with\n  pyr-wgpu train \
             --resume {}",
            self.run.path().display()
        ));
        Err(CliError::Stopped(code))
    }

    fn event(&self, event: serde_json::Value) -> Result<(), CliError> {
        self.run.event(&event)?;
        match self.args.files.json {
            true => print_json(&event),
            false => Ok(()),
        }
    }
}
