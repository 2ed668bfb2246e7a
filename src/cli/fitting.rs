//! The largest batch or image that a device can hold, for errors about one that it cannot.

use std::ops::Range;

use super::error::CliError;
use crate::engine::{Device, Engine, EngineError};
use crate::graph::Graph;
use crate::kernels::LowerError;
use crate::memory::{available_per_process, budget};

/// The next step where the smallest batch is too large.
pub(super) const SMALLER: &str = "a smaller network or image size";

/// Adds to an error about too little memory, or too small a binding, the largest value in a range
/// that leaves a quarter of the memory free; the range's end is not one. `name` and the value say what
/// would fit, as in `--batch-size 8`; `otherwise` is what to use if not even the smallest value does.
/// `graphs` are those that are loaded for a value on each of the devices, which `processes` processes on
/// this machine have.
pub(super) fn fitting(
    error: EngineError,
    (devices, processes): (&[Device], usize),
    (name, otherwise): (&str, &str),
    values: Range<usize>,
    graphs: impl Fn(usize) -> Option<Vec<Graph>>,
) -> CliError {
    let is_memory = matches!(error, EngineError::Memory(_));
    let is_binding = matches!(error, EngineError::Lower(LowerError::TooLarge { .. }));
    if !is_memory && !is_binding {
        return error.into();
    }
    let available = available_per_process(processes);
    let error = match processes {
        2.. if is_memory && available.is_some() => {
            format!("{error} to each of {processes} processes on this machine")
        }
        _ => error.to_string(),
    };
    if is_memory && available.is_none() {
        return CliError::Device(format!("{error}; use {otherwise}"));
    }
    let fits = |value, limit: Option<u64>| {
        let graphs = graphs(value);
        let needed = graphs.and_then(|graphs| Engine::host_memory_needed(devices, &graphs).ok());
        needed.is_some_and(|needed| limit.is_none_or(|limit| needed <= limit))
    };
    // All values below `low` fit, and all from `high` on do not.
    let (mut low, mut high) = (values.start, values.end);
    while low < high {
        let middle = low.midpoint(high);
        match fits(middle, available.map(budget)) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    // The smallest value may leave less than a quarter.
    if low == values.start && !values.is_empty() && fits(low, available) {
        low += 1;
    }
    CliError::Device(match low == values.start {
        true => format!(
            "{error}; not even {name} {} would fit, so use {otherwise}",
            values.start
        ),
        false => format!("{error}; {name} {} would fit", low - 1),
    })
}
