//! The largest batch that a device can hold, for errors about one that it cannot.

use super::error::CliError;
use crate::engine::{Device, Engine, EngineError};
use crate::graph::Graph;
use crate::kernels::LowerError;
use crate::train::TrainError;

/// Adds to an error about too little memory, or too small a binding, the value of `flag` below
/// `now` that fits. `graphs` are those that are loaded for such a value.
pub(super) fn fitting(
    error: EngineError,
    device: &Device,
    flag: &str,
    now: usize,
    graphs: impl Fn(usize) -> Result<Vec<Graph>, TrainError>,
) -> CliError {
    if !matches!(
        error,
        EngineError::Memory(_) | EngineError::Lower(LowerError::TooLarge { .. })
    ) {
        return error.into();
    }
    let fits = |batch| {
        let graphs = graphs(batch);
        graphs.is_ok_and(|graphs| Engine::check(device, &graphs).is_ok())
    };
    let (mut fitting, mut failing) = (0, now);
    while fitting + 1 < failing {
        let middle = fitting.midpoint(failing);
        match fits(middle) {
            true => fitting = middle,
            false => failing = middle,
        }
    }
    CliError::Device(match fitting {
        0 => format!("{error}; not even one image fits, so use a smaller network or image size"),
        _ => format!("{error}; {flag} {fitting} would fit"),
    })
}
