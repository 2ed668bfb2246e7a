//! What a training session tells, as data: the lines of `events.jsonl`, the rows of
//! `metrics.csv`, and the messages of the page.
//!
//! Names and units are the same everywhere: errors in percent, times in seconds, losses as the
//! mean over images.

use serde::{Deserialize, Serialize};

/// The version of the schema that [`Event`] describes, written into the first event of every
/// session. It grows when a field changes its meaning or disappears, not when one joins.
/// Lines without it are older than the schema (0).
pub const SCHEMA: u32 = 1;

/// Something that happened in a session. As JSON an object with the tag `event`, the variant's
/// name in lower case, and the fields beside it:
///
/// ```
/// # use pyr_wgpu::train::Event;
/// let event = Event::Saved { epoch: 2, step: 0 };
/// assert_eq!(event.to_json(), r#"{"event":"saved","epoch":2,"step":0}"#);
/// ```
///
/// A session begins with [`Event::Started`] or [`Event::Resumed`] and ends with one of
/// [`Event::Finished`], [`Event::Stopped`] and [`Event::Failed`], or without a word when its
/// process was killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A new run begins.
    Started(Beginning),
    /// A run continues: epochs from this one on are trained again if earlier sessions did so.
    Resumed(Beginning),
    /// Some optimiser steps are done. For displays: run directories leave it out.
    Progress(StepProgress),
    /// Part of the test images is evaluated. For displays likewise.
    Testing {
        /// From 1.
        epoch: u32,
        /// Test images done.
        images: usize,
        /// Test images in all.
        images_per_epoch: usize,
    },
    /// An epoch is trained and evaluated.
    Epoch(EpochMetrics),
    /// The state to continue from was saved; it stands before this step.
    Saved {
        /// From 1.
        epoch: u32,
        /// Optimiser steps done in the epoch.
        step: u32,
    },
    /// The session ended early because it was asked to, after saving.
    Stopped {
        /// From 1.
        epoch: u32,
        /// Optimiser steps done in the epoch.
        step: u32,
    },
    /// The session ended early because of an error.
    Failed {
        /// What kind of error, if it is a usual one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        /// In words.
        error: String,
    },
    /// All epochs are done.
    Finished {
        /// The epoch with the lowest test error, from 1.
        best_epoch: u32,
        /// Its test error, percent.
        best_top1_error: f64,
        /// Seconds since the session began.
        seconds: f64,
    },
}

/// Where a session begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beginning {
    /// [`SCHEMA`].
    #[serde(default)]
    pub schema: u32,
    /// From 1.
    pub epoch: u32,
    /// Optimiser steps done in the epoch.
    pub step: u32,
    /// Where the run is kept, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// How far an epoch has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepProgress {
    /// From 1.
    pub epoch: u32,
    /// Epochs of the run.
    pub epochs: u32,
    /// Optimiser steps done in the epoch.
    pub step: u32,
    /// Optimiser steps of an epoch.
    pub steps: u32,
    /// Training images done in the epoch.
    pub images: usize,
    /// Training images in all.
    pub images_per_epoch: usize,
    /// Mean loss since the last event of this kind.
    pub recent_loss: f64,
    /// Mean loss of the epoch so far.
    pub train_loss: f64,
    /// Percent, of the epoch so far.
    pub train_top1_error: f64,
    /// Training images per second in the epoch so far, pauses apart.
    pub images_per_second: f64,
    /// Seconds the device waited for data in the epoch so far.
    pub data_wait_seconds: f64,
    /// Bytes of all buffers on the device.
    pub device_bytes: u64,
}

/// What is known of a finished epoch: one row of `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// From 1.
    pub epoch: u32,
    /// Learning rate of the epoch.
    pub learning_rate: f32,
    /// Mean loss on the augmented training images.
    pub train_loss: f64,
    /// Percent.
    pub train_top1_error: f64,
    /// Mean loss on the test images.
    pub test_loss: f64,
    /// Percent.
    pub test_top1_error: f64,
    /// Percent; empty below five classes.
    pub test_top5_error: Option<f64>,
    /// Training images per second, evaluation apart.
    pub images_per_second: f64,
    /// Seconds the device waited for data.
    pub data_wait_seconds: f64,
    /// Seconds of the epoch, evaluation included.
    pub epoch_seconds: f64,
    /// Bytes of all buffers on the device.
    pub device_bytes: u64,
}

/// The usual kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A loss or gradient was NaN or infinite.
    Diverged,
    /// Images could not be read.
    Data,
    /// The device failed or went away.
    Device,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: u32,
    /// Percent.
    pub test_top1_error: f64,
}

impl Event {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events are plain data")
    }

    /// Whether it belongs into the record of a run, and not only on a display.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Event::Progress(_) | Event::Testing { .. })
    }
}
