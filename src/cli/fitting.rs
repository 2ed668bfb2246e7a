//! The largest batch or image that a device can hold, for errors about one that it cannot.

use std::ops::Range;

use super::error::CliError;
use crate::engine::{Device, Engine, EngineError};
use crate::graph::Graph;
use crate::kernels::LowerError;

/// The next step where the smallest batch is too large.
pub(super) const SMALLER: &str = "a smaller network or image size";

/// Adds to an error about too little memory, or too small a binding, the largest value in a range
/// that fits; its end does not. `name` and the value say what would fit, as in `--batch-size 8`;
/// `otherwise` is what to use if not even the smallest value does. `graphs` are those that are
/// loaded for a value, on each of the devices at the same time.
pub(super) fn fitting(
    error: EngineError,
    devices: &[Device],
    (name, otherwise): (&str, &str),
    values: Range<usize>,
    graphs: impl Fn(usize) -> Option<Vec<Graph>>,
) -> CliError {
    if !matches!(
        error,
        EngineError::Memory(_) | EngineError::Lower(LowerError::TooLarge { .. })
    ) {
        return error.into();
    }
    let fits = |value| {
        let graphs = graphs(value);
        graphs.is_some_and(|graphs| Engine::check(devices, &graphs).is_ok())
    };
    // All values below `fitting` fit, and all from `failing` on do not.
    let (mut fitting, mut failing) = (values.start, values.end);
    while fitting < failing {
        let middle = fitting.midpoint(failing);
        match fits(middle) {
            true => fitting = middle + 1,
            false => failing = middle,
        }
    }
    CliError::Device(match fitting == values.start {
        true => format!(
            "{error}; not even {name} {} would fit, so use {otherwise}",
            values.start
        ),
        false => format!("{error}; {name} {} would fit", fitting - 1),
    })
}
