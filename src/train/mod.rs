//! Training and evaluation: recipe, batches, steps, metrics.
//!
//! [`step_graph`] builds the graph of a training step, a [`Trainer`] runs such steps on a device,
//! and a [`Session`] is the loop over epochs, which yields [`Event`]s: the command line records
//! them and draws a progress bar, the page draws a curve.
//! Nothing here blocks on the device or accesses files: the state of a run is exported and
//! restored as a [`Snapshot`].

mod augmentation;
mod auto_augment;
mod calibration;
mod erasing;
mod evaluate;
mod event;
#[cfg(not(target_arch = "wasm32"))]
mod golden;
mod input_pipeline;
mod metrics;
mod mixing;
mod recipe;
mod replica;
mod replicas;
mod schedule;
mod session;
mod shares;
mod snapshot;
mod step_graph;
mod trainer;

pub use auto_augment::{AutoAugment, Operation};
pub use calibration::{Bin, Calibration, softmax};
pub use erasing::erased;
pub use evaluate::{Evaluation, Evaluator, EvaluatorOptions, ImageScores, argmax};
pub use event::{Beginning, Best, Cause, EpochMetrics, Event, SCHEMA, StepProgress};
#[cfg(not(target_arch = "wasm32"))]
pub use golden::{golden, sample_operands};
pub use metrics::Totals;
pub use mixing::Mixing;
pub use recipe::Recipe;
pub use schedule::Schedule;
pub use session::{Clock, Save, SaveInterval, Session, SessionOptions, Store};
pub use shares::{shares, weights};
pub use snapshot::{EpochOrder, Position, Snapshot};
pub use step_graph::{Mode, StepOptions, step_graph, step_graph_with, update_graph};
pub use trainer::{Options, Trainer};

use crate::data::DataError;
use crate::engine::EngineError;
use crate::graph::GraphError;
use crate::kernels::LowerError;
use crate::ranks::Failure;

/// Errors of training and evaluation.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// In the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// In the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A rank has failed.
    #[error(
        "{}",
        .0.text.as_deref().unwrap_or("another process of the run has ended")
    )]
    Rank(Failure),
    /// A thread of a replica cannot be started.
    #[error(
        "a thread for a device cannot be started: {0}; a limit of processes (ulimit -u) may be too low"
    )]
    Thread(std::io::Error),
    /// A batch, perhaps the last one of an epoch, is too small for batch norm.
    #[error(
        "{source}; {images} training images in batches of {batch_size}{} need a batch of {size}: \
         choose another --batch-size",
        match devices {
            1 => String::new(),
            _ => format!(" on {devices} devices"),
        }
    )]
    Batch {
        /// Images in the batch.
        size: usize,
        /// Training images.
        images: usize,
        /// Images of the other batches.
        batch_size: usize,
        /// Devices among which they are divided.
        devices: usize,
        /// Where the network needs more.
        source: GraphError,
    },
    /// The network computes NaN or infinite logits.
    #[error(
        "a logit is NaN or infinite: the network's numbers overflow on these images, so there is \
         no result; use another checkpoint, such as an earlier one of the run"
    )]
    Scores,
    /// A loss, gradient, parameter or running statistic became NaN or infinite. The device has
    /// changed no parameter since.
    #[error(
        "training diverged in epoch {epoch}, step {step}{}: {what}; what was saved before is \
         intact; try a smaller --lr",
        .micro_batch.map(|batch| format!(", micro-batch {batch}")).unwrap_or_default()
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: u32,
        /// Step within the epoch, from 1.
        step: u32,
        /// Micro-batch within the step, from 1; `None` without micro-batches, and for the update
        /// that follows them.
        micro_batch: Option<u32>,
        /// The first NaN or infinity: its kind and its tensor or layer.
        what: String,
    },
}

impl From<Failure> for TrainError {
    fn from(failure: Failure) -> TrainError {
        TrainError::Rank(failure)
    }
}

impl From<GraphError> for TrainError {
    fn from(error: GraphError) -> TrainError {
        TrainError::Engine(error.into())
    }
}

impl From<LowerError> for TrainError {
    fn from(error: LowerError) -> TrainError {
        TrainError::Engine(error.into())
    }
}
