//! Every way to fail, and its exit code.

use crate::checkpoint::CheckpointError;
use crate::data::DataError;
use crate::engine::EngineError;
use crate::gpu::GpuError;
use crate::graph::GraphError;
use crate::kernels::LowerError;
use crate::model::SpecError;
use crate::predict::PredictError;
use crate::ranks::Failure;
use crate::run::RunError;
use crate::text::printable;
use crate::train::{Cause, TrainError};

/// Why a command ended without success.
#[derive(Debug)]
pub(super) enum CliError {
    /// The arguments cannot be used.
    Usage(String),
    /// Something failed that has no code of its own.
    Failed(String),
    /// A comparison exceeded its tolerance; the result has been printed.
    Different,
    /// A dataset or an image cannot be used.
    Data(String),
    /// A checkpoint cannot be used.
    Checkpoint(String),
    /// There is no suitable adapter, or its limits do not suffice.
    Device(String),
    /// The device was lost.
    Lost(String),
    /// The loss or a gradient became NaN or infinite.
    Diverged(String),
    /// A signal stopped the run, after saving.
    Stopped(u8),
    /// One of several ranks failed, with its exit code and message.
    Rank(u8, Option<String>),
    /// One of several ranks failed, which rank 0 has reported.
    Reported(u8),
    /// The reader of stdout closed the pipe.
    ClosedPipe,
}

/// The exit code of arguments that cannot be used.
pub(super) const USAGE: u8 = 2;

impl CliError {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            CliError::ClosedPipe => 0,
            CliError::Failed(_) | CliError::Different => 1,
            CliError::Usage(_) => USAGE,
            CliError::Device(_) => 3,
            CliError::Data(_) => 4,
            CliError::Checkpoint(_) => 5,
            CliError::Diverged(_) => 6,
            CliError::Lost(_) => 7,
            CliError::Stopped(code) | CliError::Rank(code, _) | CliError::Reported(code) => *code,
        }
    }

    /// The cause to record with the message in the `failed` event.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.code() {
            3 | 7 => Some(Cause::Device),
            4 => Some(Cause::Data),
            6 => Some(Cause::Diverged),
            _ => None,
        }
    }

    /// The message for the user; `None` if it has been printed or none is needed.
    pub(super) fn message(&self) -> Option<&str> {
        match self {
            CliError::ClosedPipe
            | CliError::Different
            | CliError::Stopped(_)
            | CliError::Reported(_) => None,
            CliError::Rank(_, text) => text.as_deref(),
            CliError::Usage(text)
            | CliError::Failed(text)
            | CliError::Data(text)
            | CliError::Checkpoint(text)
            | CliError::Device(text)
            | CliError::Lost(text)
            | CliError::Diverged(text) => Some(text),
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> CliError {
        let Failure {
            rank,
            host,
            code,
            text,
        } = failure;
        let text = text.map(|text| match rank {
            0 => text,
            _ => format!("rank {rank} on {}: {text}", printable(&host)),
        });
        CliError::Rank(code, text)
    }
}

impl From<GpuError> for CliError {
    fn from(error: GpuError) -> CliError {
        let text = error.to_string();
        match error {
            GpuError::Lost(_) => CliError::Lost(text),
            GpuError::Rejected(_) => CliError::Failed(text),
            GpuError::NoAdapter { .. }
            | GpuError::UnknownAdapter { .. }
            | GpuError::Open { .. }
            | GpuError::OutOfMemory { .. }
            | GpuError::BufferTooLarge { .. } => CliError::Device(text),
        }
    }
}

impl From<LowerError> for CliError {
    fn from(error: LowerError) -> CliError {
        CliError::Device(error.to_string())
    }
}

impl From<GraphError> for CliError {
    fn from(error: GraphError) -> CliError {
        CliError::Usage(error.to_string())
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> CliError {
        match error {
            EngineError::Gpu(error) => error.into(),
            EngineError::Lower(error) => error.into(),
            EngineError::Graph(error) => error.into(),
            EngineError::Memory(_) | EngineError::Precision(_) | EngineError::Faulty { .. } => {
                CliError::Device(error.to_string())
            }
        }
    }
}

impl From<PredictError> for CliError {
    fn from(error: PredictError) -> CliError {
        match error {
            PredictError::Engine(error) => error.into(),
            PredictError::NotFinite { .. } => CliError::Diverged(error.to_string()),
        }
    }
}

impl From<DataError> for CliError {
    fn from(error: DataError) -> CliError {
        let text = error.to_string();
        match error {
            DataError::Memory(_) => CliError::Device(text),
            _ => CliError::Data(text),
        }
    }
}

impl From<CheckpointError> for CliError {
    fn from(error: CheckpointError) -> CliError {
        let text = error.to_string();
        match error.is_about_writing() {
            true => CliError::Failed(text),
            false => CliError::Checkpoint(text),
        }
    }
}

impl From<SpecError> for CliError {
    fn from(error: SpecError) -> CliError {
        let text = error.to_string();
        match error.is_about_checkpoint() {
            true => CliError::Checkpoint(text),
            false => CliError::Usage(text),
        }
    }
}

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> CliError {
        let text = error.to_string();
        match error {
            TrainError::Engine(error) => error.into(),
            TrainError::Data(error) => error.into(),
            TrainError::Rank(failure) => failure.into(),
            TrainError::Batch { .. } => CliError::Usage(text),
            TrainError::Thread(_) => CliError::Failed(text),
            TrainError::Scores | TrainError::Diverged { .. } => CliError::Diverged(text),
        }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> CliError {
        let text = error.to_string();
        match error {
            RunError::Checkpoint(error) => error.into(),
            RunError::Spec(error) => error.into(),
            RunError::NotARun { .. } | RunError::Damaged { .. } => CliError::Checkpoint(text),
            RunError::Directory { .. } | RunError::Taken { .. } => CliError::Failed(text),
            RunError::Occupied(_) | RunError::InUse { .. } => CliError::Usage(text),
        }
    }
}
