//! Drives a training session: progress on the terminal, files, signals.

use super::super::device::DeviceArgs;
use super::super::error::CliError;
use super::super::output::print_event;
use super::super::progress::{Progress, duration, images_per_second};
use super::super::signals::Signals;
use super::plan::Plan;
use super::resume::finished;
use crate::run::RunDirectory;
use crate::text::{printable_path, quoted};
use crate::train::{Best, EpochMetrics, Event, Save, Session, Store};

/// Drives a session to the end of its epochs, or until a signal.
///
/// # Errors
/// See [`CliError`]; what was saved is kept.
pub(super) fn drive(mut session: Session, mut recorder: Recorder<'_>) -> Result<(), CliError> {
    let mut stopped = false;
    loop {
        let signal = recorder.signals.asked();
        if signal.is_some() || recorder.unwritten.is_some() {
            session.stop();
        }
        let next = pollster::block_on(session.next(&mut recorder));
        let recorded = next.and_then(|event| {
            event
                .as_ref()
                .map_or(Ok(()), |event| recorder.take(event))?;
            Ok(event)
        });
        match recorded {
            Ok(Some(event)) => stopped = matches!(event, Event::Stopped { .. }),
            Ok(None) => {
                let code = signal.filter(|_| stopped || recorder.unwritten.is_some());
                return match (recorder.unwritten, code) {
                    (unwritten, Some(code)) => {
                        if let Some(text) = unwritten {
                            recorder.device.say(&format!("warning: {text}"));
                        }
                        Err(CliError::Stopped(code))
                    }
                    (Some(text), None) => Err(CliError::Failed(text)),
                    (None, None) => Ok(()),
                };
            }
            Err(error) => {
                let failed = Event::Failed {
                    cause: error.cause(),
                    error: error.message().unwrap_or_default().to_owned(),
                };
                // If this cannot be recorded either, the first error is still the one to report.
                let _ = recorder.take(&failed);
                return Err(error);
            }
        }
    }
}

/// Where a session's events and states go: the run directory, stderr and, with `--json`, stdout.
pub(super) struct Recorder<'a> {
    plan: &'a Plan,
    run: &'a RunDirectory,
    device: &'a DeviceArgs,
    signals: &'a Signals,
    json: bool,
    /// Number of processes.
    processes: usize,
    /// Why an event could not be printed on stdout.
    unwritten: Option<String>,
    progress: Option<Progress>,
    /// Notes on the data that have been printed.
    printed_notes: Vec<String>,
}

impl Store for Recorder<'_> {
    type Error = CliError;

    fn save(&mut self, save: Save<'_>) -> Result<(), CliError> {
        let plan = self.plan;
        Ok(self
            .run
            .save(&plan.config, &plan.description, plan.data, save)?)
    }
}

impl<'a> Recorder<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        run: &'a RunDirectory,
        device: &'a DeviceArgs,
        signals: &'a Signals,
        json: bool,
        processes: usize,
    ) -> Recorder<'a> {
        Recorder {
            plan,
            run,
            device,
            signals,
            json,
            processes,
            unwritten: None,
            progress: None,
            printed_notes: Vec::new(),
        }
    }

    /// The command that continues the run.
    fn resume(&self) -> String {
        let launcher = match self.processes {
            1 => String::new(),
            count => format!("mpirun -n {count} "),
        };
        let run = quoted(self.run.path());
        format!("{launcher}pyr-wgpu train --resume {run}")
    }

    fn take(&mut self, event: &Event) -> Result<(), CliError> {
        self.run.record(event)?;
        // After these nothing can ask to stop.
        let ends = matches!(
            event,
            Event::Stopped { .. } | Event::Finished { .. } | Event::Failed { .. }
        );
        if self.json
            && self.unwritten.is_none()
            && event.is_lasting()
            && let Err(error) =
                print_event(&event.to_json(), || ends || self.signals.asked().is_some())
        {
            let reason = error.message().unwrap_or("nobody reads stdout any more");
            let run = self.run;
            self.unwritten = Some(format!(
                "{reason}; the run is saved, and its events are in {}; continue with `{}`",
                printable_path(&run.file("events.jsonl")),
                self.resume()
            ));
        }
        self.show(event);
        Ok(())
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::Started(beginning) | Event::Resumed(beginning) => {
                let images = self.plan.dataset.train.as_ref().map_or(0, |s| s.len());
                let done = beginning.step as usize * self.plan.config.recipe.batch_size;
                match done < images {
                    true => self.begin_epoch(beginning.epoch, done),
                    false => self.begin_test(beginning.epoch),
                }
            }
            Event::Progress(p) => {
                self.update(p.images, || {
                    format!(
                        ", loss {:.3}, error {:.1} %, waited for data {:.1} s",
                        p.train_loss, p.train_top1_error, p.data_wait_seconds
                    )
                });
                if p.step == p.steps {
                    self.begin_test(p.epoch);
                }
            }
            Event::Testing { images, .. } => self.update(*images, String::new),
            Event::Epoch(row) => {
                self.clear();
                self.show_epoch(row);
                self.show_notes();
            }
            Event::Saved { epoch, step: 0 } if *epoch <= self.plan.config.recipe.epochs => {
                self.begin_epoch(*epoch, 0);
            }
            Event::Saved { .. } => {}
            Event::Stopped { epoch, step } => {
                self.clear();
                self.show_notes();
                self.device.say(&format!(
                    "stopped and saved at epoch {epoch}, step {step}; continue with\n  {}",
                    self.resume()
                ));
            }
            // The error itself is printed at the end, by rank 0 if there are several.
            Event::Failed { .. } => self.clear(),
            Event::Finished {
                best_epoch,
                best_top1_error,
                seconds,
                patience,
            } => {
                self.clear();
                let best = Best {
                    epoch: *best_epoch,
                    test_top1_error: *best_top1_error,
                };
                self.device
                    .say(&finished(self.run, &best, *seconds, *patience));
            }
        }
    }

    fn begin_epoch(&mut self, epoch: u32, done: usize) {
        let images = self.plan.dataset.train.as_ref().map_or(0, |s| s.len());
        self.begin(&self.label(epoch), done, images);
    }

    fn begin_test(&mut self, epoch: u32) {
        let label = format!("{} test", self.label(epoch));
        self.begin(&label, 0, self.plan.dataset.test.len());
    }

    /// Starts a new progress display.
    fn begin(&mut self, label: &str, done: usize, images: usize) {
        self.clear();
        let progress = Progress::new(label, done as u64, images as u64, self.device.quiet);
        self.progress = Some(progress);
    }

    fn update(&mut self, images: usize, text: impl FnOnce() -> String) {
        if let Some(progress) = &mut self.progress {
            progress.update(images as u64, text);
        }
    }

    fn clear(&mut self) {
        self.progress = None;
    }

    fn show_epoch(&self, row: &EpochMetrics) {
        self.device.say(&format!(
            "{}: train loss {:.4}, error {:.2} %; test loss {:.4}, error {:.2} %; {}, {}",
            self.label(row.epoch),
            row.train_loss,
            row.train_top1_error,
            row.test_loss,
            row.test_top1_error,
            images_per_second(row.images_per_second),
            duration(row.epoch_seconds)
        ));
    }

    /// Prints the notes that reading images has added since the last epoch.
    fn show_notes(&mut self) {
        let notes = self.plan.dataset.reading_notes();
        for note in notes
            .iter()
            .filter(|note| !self.printed_notes.contains(note))
        {
            self.device.say(&format!("note: {note}"));
        }
        self.printed_notes = notes;
    }

    fn label(&self, epoch: u32) -> String {
        format!("epoch {epoch}/{}", self.plan.config.recipe.epochs)
    }
}
