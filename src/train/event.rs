//! Events of a training session, as data: the lines of `events.jsonl`, the rows of
//! `metrics.csv`, and the messages of the page.
//!
//! Names and units are the same everywhere: errors in percent, times in seconds, losses as the
//! mean over images.

use serde::{Deserialize, Serialize};

/// Version of the schema of [`Event`], written into the first event of every session. It
/// increases when a field changes its meaning or is removed, not when one is added.
/// Lines without it predate the schema (version 0).
pub const SCHEMA: u32 = 1;

/// An event of a session. In JSON, an object with the variant's name in snake case as `event`,
/// next to the fields:
///
/// ```
/// # use pyr_wgpu::train::Event;
/// let event = Event::Saved { epoch: 2, step: 0 };
/// assert_eq!(event.to_json(), r#"{"event":"saved","epoch":2,"step":0}"#);
/// ```
///
/// A session begins with [`Event::Started`] or [`Event::Resumed`] and ends with one of
/// [`Event::Finished`], [`Event::Stopped`] and [`Event::Failed`], or with none of them if its
/// process was killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A new run started.
    Started(Beginning),
    /// A run resumed: epochs from this one on replace those of earlier sessions.
    Resumed(Beginning),
    /// Some optimiser steps are done. For display only, not recorded in run directories.
    Progress(StepProgress),
    /// Part of the test images is evaluated. For display only.
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
    /// The state was saved; a resumed run continues from this position.
    Saved {
        /// From 1.
        epoch: u32,
        /// Optimiser steps done in the epoch.
        step: u32,
    },
    /// The session ended early on request, after saving.
    Stopped {
        /// From 1.
        epoch: u32,
        /// Optimiser steps done in the epoch.
        step: u32,
    },
    /// The session ended early because of an error.
    Failed {
        /// The kind of error, if it is a common one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
        /// The error message.
        error: String,
    },
    /// All epochs are done, or none has lowered the test error for some time.
    Finished {
        /// The epoch with the lowest test error, from 1.
        best_epoch: u32,
        /// Its test error in percent.
        best_top1_error: f64,
        /// Duration of the session in seconds.
        seconds: f64,
        /// If the run ended before its last epoch: the recipe's patience, in epochs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        patience: Option<u32>,
    },
}

/// The position at which a session begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beginning {
    /// [`SCHEMA`].
    #[serde(default)]
    pub schema: u32,
    /// From 1.
    pub epoch: u32,
    /// Optimiser steps done in the epoch.
    pub step: u32,
    /// The run directory, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Progress of an epoch.
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
    /// Top-1 error of the epoch so far, in percent.
    pub train_top1_error: f64,
    /// Training images per second in the epoch so far, without pauses.
    pub images_per_second: f64,
    /// Seconds that this process spent waiting for data in the epoch so far.
    pub data_wait_seconds: f64,
    /// Bytes of all buffers on the devices of this process.
    pub device_bytes: u64,
}

/// Metrics of a finished epoch: one row of `metrics.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// From 1.
    pub epoch: u32,
    /// Learning rate of the epoch's first step.
    pub learning_rate: f32,
    /// Mean loss on the augmented training images, with the recipe's label smoothing and mixing.
    pub train_loss: f64,
    /// Top-1 error on the augmented training images, in percent; of an image that is mixed with
    /// another one, against the label with the larger share.
    pub train_top1_error: f64,
    /// Mean loss on the test images.
    pub test_loss: f64,
    /// Top-1 error on the test images, in percent.
    pub test_top1_error: f64,
    /// Top-5 error on the test images, in percent; `None` with fewer than five classes.
    pub test_top5_error: Option<f64>,
    /// Training images per second, without evaluation.
    pub images_per_second: f64,
    /// Seconds spent waiting for data.
    pub data_wait_seconds: f64,
    /// Seconds of the epoch, evaluation included.
    pub epoch_seconds: f64,
    /// Bytes of all buffers on the devices of this process.
    pub device_bytes: u64,
}

/// Common kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A loss or gradient was NaN or infinite.
    Diverged,
    /// Images could not be read.
    Data,
    /// The device failed or was lost.
    Device,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// From 1.
    pub epoch: u32,
    /// Its top-1 test error, in percent.
    pub test_top1_error: f64,
}

impl Event {
    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("events are plain data")
    }

    /// Whether run directories record the event.
    pub fn is_lasting(&self) -> bool {
        !matches!(self, Event::Progress(_) | Event::Testing { .. })
    }
}
