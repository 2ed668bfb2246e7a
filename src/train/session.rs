//! A training session: the one loop through steps, evaluations, saves and epochs.
//!
//! [`Session::next`] goes on to the next [`Event`] and returns: whoever drives a session pauses
//! it by not asking, and does other things in between. Nothing blocks, and no file, clock or
//! signal is touched: states go to a [`Store`], time comes from a function, and whoever hears
//! of a signal calls [`Session::stop`].

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
    /// Never: the store hears nothing.
    Never,
    /// After every epoch.
    Epoch,
    /// Also whenever so many steps of an epoch are done.
    Steps(u32),
    /// Also when so much time has passed since the last save.
    Time(Duration),
}

/// What a session needs besides its trainer.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    /// Where the run is kept, if anywhere: for the first event.
    pub run: Option<String>,
    /// When to save, besides at a stop.
    pub save: SaveInterval,
    /// How much time should lie between two events, about.
    pub interval: Duration,
    /// Steps between two events, at most: where submitting a step takes no time, as in
    /// browsers, the interval alone would queue too many.
    pub max_steps: u32,
}

/// What is to be saved.
#[derive(Clone, Copy, Debug)]
pub struct Save<'a> {
    /// Whose state it is.
    pub network: &'a Network,
    /// The state to continue from.
    pub snapshot: &'a Snapshot,
    /// The best epoch so far.
    pub best: Option<Best>,
    /// Whether that is the epoch which has just ended: then these are the best weights.
    pub improved: bool,
}

/// Where a session's states go.
pub trait Store {
    /// Why saving, or the training itself, failed.
    type Error: From<TrainError>;

    /// Keeps a state.
    ///
    /// # Errors
    /// If it cannot: the session then ends.
    fn save(&mut self, save: Save<'_>) -> Result<(), Self::Error>;
}

/// For sessions that save nothing.
impl Store for () {
    type Error = TrainError;

    fn save(&mut self, _: Save<'_>) -> Result<(), TrainError> {
        Ok(())
    }
}

/// Time since any fixed moment.
pub type Clock = Box<dyn Fn() -> Duration>;

/// A trainer on its way through the epochs of its recipe.
pub struct Session {
    trainer: Trainer,
    options: SessionOptions,
    clock: Clock,
    phase: Phase,
    best: Option<Best>,
    stopping: bool,
    begun: Duration,
    saved: Duration,
    steps: Pace,
    batches: Pace,
    epoch: EpochClock,
    /// The epoch's totals when they were last read.
    totals: Totals,
}

/// What comes next.
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
    /// The save after an epoch, and the next one.
    EpochEnd { improved: bool },
    /// The last event of a session that was asked to stop.
    Stop,
    /// The last event of a session that has done all epochs.
    Finish,
    /// Nothing.
    Done,
}

/// What is measured in an epoch.
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

/// How many steps or batches fill the interval between two events.
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

    /// Whether a turn that has done so much, in such a time, should end.
    fn is_over(&self, done: u32, took: Duration) -> bool {
        done >= self.count || took >= self.interval
    }

    /// Learns from a turn how long the next one should be.
    fn learn(&mut self, done: u32, took: Duration) {
        let share = self.interval.as_secs_f64() / took.as_secs_f64().max(1e-9);
        self.count = ((f64::from(done) * share).round() as u32).clamp(1, self.max);
    }
}

impl Session {
    /// A new run, from the trainer's present state.
    pub fn start(trainer: Trainer, options: SessionOptions, clock: Clock) -> Session {
        Session::new(
            trainer,
            None,
            options,
            clock,
            Phase::Begin { resumed: false },
        )
    }

    /// A run that continues from the trainer's present state; `best` is its best epoch so far.
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
            stopping: false,
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

    /// The present state.
    ///
    /// # Errors
    /// If the device fails, or the run has diverged.
    pub async fn snapshot(&mut self) -> Result<Snapshot, TrainError> {
        self.trainer.snapshot().await
    }

    /// Asks for an early end: the session saves as soon as the steps under way are done, or the
    /// epoch if it is being evaluated. A session that is finished by then does not stop.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Goes on to the next event; `None` after the last.
    ///
    /// # Errors
    /// If data, device or store fail, or the training diverged. The session is over then; a
    /// consumer that keeps a record adds [`Event::Failed`].
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
                Phase::Train if self.stopping => {
                    self.phase = Phase::Save;
                    None
                }
                Phase::Train if self.trainer.epoch_done() => {
                    self.phase = Phase::Test;
                    None
                }
                Phase::Train => Some(self.train().await?),
                Phase::Save => {
                    self.phase = match self.stopping {
                        true => Phase::Stop,
                        false => Phase::Train,
                    };
                    self.save(store, false).await?
                }
                Phase::Test => Some(self.test().await?),
                Phase::EpochEnd { improved } => {
                    self.next_epoch();
                    self.save(store, improved).await?
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
            self.epoch.images += self.trainer.step()?;
            done += 1;
            let ended = self.trainer.epoch_done();
            if !ended && self.save_is_due() {
                self.phase = Phase::Save;
            }
            let over = self.steps.is_over(done, (self.clock)() - begun);
            if over || ended || self.phase == Phase::Save {
                break;
            }
        }
        let totals = self.trainer.collect().await?;
        let took = (self.clock)() - begun;
        self.steps.learn(done, took);
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
            device_bytes: trainer.engine().bytes(),
        }))
    }

    /// A turn of test batches; the epoch's metrics after the last one.
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
                let finished = self.trainer.engine().device().finished().await;
                finished.map_err(EngineError::from)?;
                self.batches.learn(done, (self.clock)() - begun);
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
            learning_rate: trainer.options().recipe.learning_rate(epoch),
            train_loss: self.totals.mean_loss(),
            train_top1_error: self.totals.top1_error(),
            test_loss: tested.mean_loss(),
            test_top1_error: tested.top1_error(),
            test_top5_error: tested.top5_error(classes),
            images_per_second: self.epoch.images_per_second(),
            data_wait_seconds: trainer.waited().as_secs_f64(),
            epoch_seconds: ((self.clock)() - self.epoch.begun).as_secs_f64(),
            device_bytes: trainer.engine().bytes(),
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
        self.phase = Phase::EpochEnd { improved };
        Event::Epoch(metrics)
    }

    fn next_epoch(&mut self) {
        self.trainer.next_epoch();
        self.totals = Totals::default();
        self.epoch = EpochClock {
            begun: (self.clock)(),
            ..EpochClock::default()
        };
        self.phase = match (self.trainer.finished(), self.stopping) {
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

    /// Hands the present state to the store, if anything is saved at all.
    async fn save<S: Store>(
        &mut self,
        store: &mut S,
        improved: bool,
    ) -> Result<Option<Event>, S::Error> {
        if self.options.save == SaveInterval::Never {
            return Ok(None);
        }
        let snapshot = self.trainer.snapshot().await?;
        store.save(Save {
            network: self.trainer.network(),
            snapshot: &snapshot,
            best: self.best,
            improved,
        })?;
        self.saved = (self.clock)();
        let (epoch, step) = self.position();
        Ok(Some(Event::Saved { epoch, step }))
    }

    fn finished(&self) -> Event {
        let best = self.best.expect("at least one epoch was evaluated");
        Event::Finished {
            best_epoch: best.epoch,
            best_top1_error: best.test_top1_error,
            seconds: ((self.clock)() - self.begun).as_secs_f64(),
        }
    }

    /// Epoch and step.
    fn position(&self) -> (u32, u32) {
        let position = self.trainer.position();
        (position.epoch, position.step)
    }
}
