//! The largest batch or image that a device can hold, for errors about one that it cannot.

use std::ops::Range;

use super::error::CliError;
use crate::engine::{Device, Engine, EngineError};
use crate::graph::Graph;
use crate::kernels::LowerError;
use crate::memory::usable_by_each;

/// The next step where the smallest batch is too large.
pub(super) const SMALLER: &str = "a smaller network or image size";

/// Adds to an error about too little memory, or too small a binding, the largest value in a range
/// that fits; its end does not. `name` and the value say what would fit, as in `--batch-size 8`;
/// `otherwise` is what to use if not even the smallest value does. `graphs` are those that are
/// loaded for a value, on each of the devices at the same time, by so many processes.
pub(super) fn fitting(
    error: EngineError,
    (devices, processes): (&[Device], usize),
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
        let needed = graphs.and_then(|graphs| Engine::needed_of_host(devices, &graphs).ok());
        let fit = |needed| usable_by_each(processes).is_none_or(|usable| needed <= usable);
        needed.is_some_and(fit)
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
