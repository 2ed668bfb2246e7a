//! The self-test: every kernel that a device can run, against the plain reference of its operator.
//!
//! [`Case`] is one operator alone, [`Pair`] a kernel with partial statistics and the reduction
//! after it, [`Halves`] the rounding to half precision; a [`Check`] is one of them with a table of
//! choices. The operands are the operators' samples ([`crate::graph::Op::samples`]), and
//! `tolerance.rs` derives how far rounding can move a result.
//! [`test_device`] does all checks of a device and tabulates them.
//!
//! The tests of the kernels, their checks in browsers and `pyr-wgpu selftest` share this room.

mod case;
mod check;
mod halves;
mod pair;
mod table;
mod tolerance;

pub use case::{Case, Change, Operands, cases, check, shapes, stands};
pub use check::Check;
pub use halves::Halves;
pub use pair::{Pair, RESULTS, images, pairs};
pub use table::{Coverage, Outcome, Row, run_checks, test_device};

use crate::engine::EngineError;
use crate::gpu::GpuError;

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// A result differs from the reference by more than rounding can cause.
    #[error("{0}")]
    Differs(String),
    /// The device cannot run the kernel, or failed.
    #[error("{what}: {error}")]
    Device {
        /// What was to be run.
        what: String,
        /// The error.
        error: EngineError,
    },
}

impl CheckError {
    fn device(what: String, error: EngineError) -> CheckError {
        CheckError::Device { what, error }
    }

    /// What the driver says about a kernel that it rejected.
    fn rejection(&self) -> Option<&str> {
        match self {
            CheckError::Device {
                error: EngineError::Gpu(GpuError::Rejected(reason)),
                ..
            } => Some(reason),
            _ => None,
        }
    }
}
