//! Training and evaluation: recipe, batches, steps, metrics.
//!
//! [`step_graph`] is a training step as data, a [`Trainer`] runs such steps on a device, and a
//! [`Session`] is the loop around it, which yields [`Event`]s: the command line draws a progress
//! bar from them and writes them down, the page draws a curve.
//! Nothing here blocks on the device or owns a file: what a checkpoint needs comes out as a
//! [`Snapshot`] and goes in as one.

mod evaluate;
mod event;
mod input_pipeline;
mod metrics;
mod recipe;
mod session;
mod snapshot;
mod step_graph;
mod trainer;

pub use evaluate::{Evaluation, Evaluator, EvaluatorOptions};
pub use event::{Beginning, Best, Cause, EpochMetrics, Event, SCHEMA, StepProgress};
pub use input_pipeline::InputPipeline;
pub use metrics::Totals;
pub use recipe::Recipe;
pub use session::{Clock, Save, SaveInterval, Session, SessionOptions, Store};
pub use snapshot::{Position, Snapshot};
pub use step_graph::{Mode, step_graph, update_graph};
pub use trainer::{Options, Trainer};

use crate::data::DataError;
use crate::engine::EngineError;
use crate::graph::GraphError;
use crate::kernels::LowerError;

/// What can end a training or an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// In the engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// In the data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A network whose scores are no numbers.
    #[error("a score is NaN or infinite: the checkpoint is of a run that diverged")]
    Scores,
    /// The numbers left the reals.
    #[error(
        "training diverged in epoch {epoch}, at or before step {step}: {what}; what was saved \
         before is intact; try a smaller --lr"
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: u32,
        /// Step within the epoch, from 1.
        step: u32,
        /// What was seen first.
        what: String,
    },
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
