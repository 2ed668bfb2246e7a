//! A training session: the loop over steps, evaluations, saves and epochs.
//!
//! [`Session::next`] runs to the next [`Event`] and returns, so a caller can pause a session or do
//! other work in between. A session does not block, unless it waits for other ranks ([`crate::ranks`]), and uses no files, clocks or signals: states
//! go to a [`Store`], a [`Clock`] function returns the time, and a signal handler calls
//! [`Session::stop`].

use std::time::Duration;

use super::event::{Beginning, Best, EpochMetrics, Event, SCHEMA, StepProgress};
use super::snapshot::Snapshot;
use super::trainer::Trainer;
use super::{Totals, TrainError};
use crate::engine::EngineError;
use crate::model::Network;

/// When a session saves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveInterval {
    /// Never: the store is not called.
    Never,
    /// After every epoch.
    Epoch,
    /// After every epoch, and every so many steps within it.
    Steps(u32),
    /// After every epoch, and when so much time has passed since the last save.
    Time(Duration),
}

/// Options of a [`Session`].
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// The run directory, if there is one, for the first event.
    pub run: Option<String>,
    /// When to save, in addition to a stop.
    pub save: SaveInterval,
    /// Approximate time between two events.
    pub interval: Duration,
    /// Maximum number of steps between two events. In browsers, where submitting a step returns at
    /// once, the interval alone would queue too many.
    pub max_steps: u32,
}

/// A state to save.
#[derive(Clone, Copy, Debug)]
pub struct Save<'a> {
    /// The network.
    pub network: &'a Network,
    /// The state from which the run can resume.
    pub snapshot: &'a Snapshot,
    /// The best epoch so far.
    pub best: Option<Best>,
}

/// Stores the states of a session.
pub trait Store {
    /// Error of saving, or of the training itself.
    type Error: From<TrainError>;

    /// Stores a state.
    ///
    /// # Errors
    /// If storing fails, which ends the session.
    fn save(&mut self, save: Save<'_>) -> Result<(), Self::Error>;
}

/// For sessions that save nothing.
impl Store for () {
    type Error = TrainError;

    fn save(&mut self, _: Save<'_>) -> Result<(), TrainError> {
        Ok(())
    }
}

/// Time since a fixed moment.
pub type Clock = Box<dyn Fn() -> Duration>;

/// A run of a trainer through the epochs of its recipe.
pub struct Session {
    trainer: Trainer,
    options: SessionOptions,
    clock: Clock,
    phase: Phase,
    best: Option<Best>,
    begun: Duration,
    saved: Duration,
    steps: Pace,
    batches: Pace,
    epoch: EpochClock,
    /// The epoch's totals as of the last read.
    totals: Totals,
}

/// What [`Session::next`] does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first event.
    Begin { resumed: bool },
    /// Steps of the epoch.
    Train,
    /// A save in the middle of the epoch, or before a stop.
    Save,
    /// The test images.
    Test,
    /// The save after an epoch, and the start of the next one.
    EpochEnd,
    /// The last event of a session stopped on request.
    Stop,
    /// The last event of a session that has completed its epochs.
    Finish,
    /// Nothing more.
    Done,
}

/// Timing of an epoch.
#[derive(Clone, Copy, Default)]
struct EpochClock {
    begun: Duration,
    /// Time spent in training turns.
    training: Duration,
    /// Images trained in this session.
    images: usize,
}

impl EpochClock {
    fn images_per_second(&self) -> f64 {
        self.images as f64 / self.training.as_secs_f64().max(1e-9)
    }
}

/// Estimates how many steps or batches fill the interval between two events.
struct Pace {
    count: u32,
    interval: Duration,
    max: u32,
}

impl Pace {
    fn new(options: &SessionOptions) -> Pace {
        Pace {
            count: 1,
            interval: options.interval,
            max: options.max_steps.max(1),
        }
    }

    /// Whether a turn of `done` steps in `took` time should end.
    fn is_over(&self, done: u32, took: Duration) -> bool {
        done >= self.count || took >= self.interval
    }

    /// Adapts the length of the next turn to the duration of this one.
    fn adapt(&mut self, done: u32, took: Duration) {
        let share = self.interval.as_secs_f64() / took.as_secs_f64().max(1e-9);
        self.count = ((f64::from(done) * share).round() as u32).clamp(1, self.max);
    }
}

impl Session {
    /// A new run, from the trainer's current state.
    pub fn start(trainer: Trainer, options: SessionOptions, clock: Clock) -> Session {
        Session::new(
            trainer,
            None,
            options,
            clock,
            Phase::Begin { resumed: false },
        )
    }

    /// A resumed run, from the trainer's current state; `best` is its best epoch so far.
    pub fn resume(
        trainer: Trainer,
        best: Option<Best>,
        options: SessionOptions,
        clock: Clock,
    ) -> Session {
        Session::new(
            trainer,
            best,
            options,
            clock,
            Phase::Begin { resumed: true },
        )
    }

    fn new(
        trainer: Trainer,
        best: Option<Best>,
        options: SessionOptions,
        clock: Clock,
        phase: Phase,
    ) -> Session {
        let now = clock();
        Session {
            steps: Pace::new(&options),
            batches: Pace::new(&options),
            totals: trainer.position().totals(),
            trainer,
            options,
            clock,
            phase,
            best,
            begun: now,
            saved: now,
            epoch: EpochClock {
                begun: now,
                ..EpochClock::default()
            },
        }
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The current state.
    ///
    /// # Errors
    /// If the device fails, or the run has diverged.
    pub async fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        self.trainer.snapshot().await
    }

    /// Requests an early end. The session saves and stops after the current turn of steps, or at
    /// the end of the epoch if that is being evaluated. If the run is complete by then, it finishes
    /// as usual. With several ranks, all stop after the next step.
    pub fn stop(&mut self) {
        self.trainer.ask_to_stop();
    }

    /// Runs to the next event; `None` after the last.
    ///
    /// # Errors
    /// If data, device or store fail, or the training diverged. The session is then over; a caller
    /// that keeps a record adds [`Event::Failed`].
    pub async fn next<S: Store>(&mut self, store: &mut S) -> Result<Option<Event>, S::Error> {
        let result = self.advance(store).await;
        if result.is_err() {
            self.phase = Phase::Done;
        }
        result
    }

    async fn advance<S: Store>(&mut self, store: &mut S) -> Result<Option<Event>, S::Error> {
        loop {
            let event = match self.phase {
                Phase::Begin { resumed } => {
                    self.phase = Phase::Train;
                    Some(self.beginning(resumed))
                }
                Phase::Train if self.trainer.stops() => {
                    self.phase = Phase::Save;
                    None
                }
                Phase::Train if self.trainer.epoch_done() => {
                    self.phase = Phase::Test;
                    None
                }
                Phase::Train => Some(self.train().await?),
                Phase::Save => {
                    self.phase = match self.trainer.stops() {
                        true => Phase::Stop,
                        false => Phase::Train,
                    };
                    self.save(store).await?
                }
                Phase::Test => Some(self.test().await?),
                Phase::EpochEnd => {
                    self.next_epoch();
                    self.save(store).await?
                }
                Phase::Stop => {
                    self.phase = Phase::Done;
                    let (epoch, step) = self.position();
                    Some(Event::Stopped { epoch, step })
                }
                Phase::Finish => {
                    self.phase = Phase::Done;
                    Some(self.finished())
                }
                Phase::Done => return Ok(None),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn beginning(&self, resumed: bool) -> Event {
        let (epoch, step) = self.position();
        let beginning = Beginning {
            schema: SCHEMA,
            epoch,
            step,
            run: self.options.run.clone(),
        };
        match resumed {
            true => Event::Resumed(beginning),
            false => Event::Started(beginning),
        }
    }

    /// A turn of steps.
    async fn train(&mut self) -> Result<Event, TrainError> {
        let begun = (self.clock)();
        let mut done = 0;
        loop {
            self.epoch.images += self.trainer.step().await?;
            done += 1;
            let ended = self.trainer.epoch_done();
            if !ended && self.save_is_due() {
                self.phase = Phase::Save;
            }
            let over = self.steps.is_over(done, (self.clock)() - begun) || self.trainer.stops();
            if over || ended || self.phase == Phase::Save {
                break;
            }
        }
        let totals = self.trainer.collect().await?;
        let took = (self.clock)() - begun;
        self.steps.adapt(done, took);
        self.epoch.training += took;
        let recent = totals.since(&self.totals);
        self.totals = totals;
        let trainer = &self.trainer;
        let (epoch, step) = self.position();
        Ok(Event::Progress(StepProgress {
            epoch,
            epochs: trainer.options().recipe.epochs,
            step,
            steps: trainer.steps_per_epoch(),
            images: trainer.images_done(),
            images_per_epoch: trainer.images_per_epoch(),
            recent_loss: recent.mean_loss(),
            train_loss: totals.mean_loss(),
            train_top1_error: totals.top1_error(),
            images_per_second: self.epoch.images_per_second(),
            data_wait_seconds: trainer.waited().as_secs_f64(),
            device_bytes: trainer.bytes(),
        }))
    }

    /// A turn of test batches; after the last one, the epoch's metrics.
    async fn test(&mut self) -> Result<Event, TrainError> {
        let begun = (self.clock)();
        let mut done = 0;
        loop {
            let (images, totals) = self.trainer.evaluate_batch().await?;
            done += 1;
            if let Some(totals) = totals {
                return Ok(self.epoch_event(&totals));
            }
            if self.batches.is_over(done, (self.clock)() - begun) {
                let finished = self.trainer.engine().device().idle().await;
                finished.map_err(EngineError::from)?;
                self.batches.adapt(done, (self.clock)() - begun);
                return Ok(Event::Testing {
                    epoch: self.trainer.position().epoch,
                    images,
                    images_per_epoch: self.trainer.test_images(),
                });
            }
        }
    }

    fn epoch_event(&mut self, tested: &Totals) -> Event {
        let trainer = &self.trainer;
        let epoch = trainer.position().epoch;
        let classes = trainer.network().spec().classes as usize;
        let metrics = EpochMetrics {
            epoch,
            learning_rate: {
                let steps = trainer.steps_per_epoch();
                trainer.options().recipe.learning_rate(epoch, 0, steps)
            },
            train_loss: self.totals.mean_loss(),
            train_top1_error: self.totals.top1_error(),
            test_loss: tested.mean_loss(),
            test_top1_error: tested.top1_error(),
            test_top5_error: tested.top5_error(classes),
            images_per_second: self.epoch.images_per_second(),
            data_wait_seconds: trainer.waited().as_secs_f64(),
            epoch_seconds: ((self.clock)() - self.epoch.begun).as_secs_f64(),
            device_bytes: trainer.bytes(),
        };
        let test_top1_error = metrics.test_top1_error;
        let improved = self
            .best
            .is_none_or(|best| test_top1_error < best.test_top1_error);
        if improved {
            self.best = Some(Best {
                epoch,
                test_top1_error,
            });
        }
        self.phase = Phase::EpochEnd;
        Event::Epoch(metrics)
    }

    fn next_epoch(&mut self) {
        self.trainer.next_epoch();
        self.totals = Totals::default();
        self.epoch = EpochClock {
            begun: (self.clock)(),
            ..EpochClock::default()
        };
        let epochs = self.trainer.position().epoch - 1;
        let best = self.best.map(|best| best.epoch);
        let recipe = &self.trainer.options().recipe;
        self.phase = match (recipe.is_over(epochs, best), self.trainer.stops()) {
            (true, _) => Phase::Finish,
            (false, true) => Phase::Stop,
            (false, false) => Phase::Train,
        };
    }

    fn save_is_due(&self) -> bool {
        match self.options.save {
            SaveInterval::Never | SaveInterval::Epoch => false,
            SaveInterval::Steps(n) => self.trainer.position().step.is_multiple_of(n),
            SaveInterval::Time(time) => (self.clock)() - self.saved >= time,
        }
    }

    /// Passes the current state to the store, unless saving is off.
    async fn save<S: Store>(&mut self, store: &mut S) -> Result<Option<Event>, S::Error> {
        if self.options.save == SaveInterval::Never {
            return Ok(None);
        }
        let snapshot = self.trainer.snapshot().await?;
        store.save(Save {
            network: self.trainer.network(),
            snapshot: &snapshot,
            best: self.best,
        })?;
        self.saved = (self.clock)();
        let (epoch, step) = self.position();
        Ok(Some(Event::Saved { epoch, step }))
    }

    fn finished(&self) -> Event {
        let best = self.best.expect("at least one epoch was evaluated");
        let epochs = self.trainer.position().epoch - 1;
        let recipe = &self.trainer.options().recipe;
        Event::Finished {
            best_epoch: best.epoch,
            best_top1_error: best.test_top1_error,
            seconds: ((self.clock)() - self.begun).as_secs_f64(),
            patience: recipe.stale_epochs(epochs, Some(best.epoch)),
        }
    }

    /// Epoch and step.
    fn position(&self) -> (u32, u32) {
        let position = self.trainer.position();
        (position.epoch, position.step)
    }
}
