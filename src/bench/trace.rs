//! Timeline of a step in the Trace Event Format, for <https://ui.perfetto.dev> and
//! `chrome://tracing`.

use serde_json::{Value, json};

use super::limits::{Bound, Limits};
use super::work::Work;
use crate::gpu::KernelTime;

/// One dispatch of a timed step.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Display name of what it computed.
    pub label: String,
    /// Stem of the shader's file, with the values of its constants.
    pub kernel: String,
    /// Start, in seconds after the start of the step.
    pub start: f64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Operations, without pad channels.
    pub flops: u64,
    /// Memory traffic in bytes: each binding once.
    pub bytes: u64,
    /// Lower bound of the duration in seconds, from the limits.
    pub least: f64,
    /// The limit that sets the lower bound.
    pub bound: Bound,
}

/// The timed tasks of some work.
pub(super) fn spans(work: &Work, times: &[KernelTime], limits: &Limits) -> Vec<Span> {
    times
        .iter()
        .map(|time| {
            let task = &work.tasks[time.dispatch];
            let (least, bound) = limits.least(task);
            Span {
                label: task.label.clone(),
                kernel: work.kernels[task.kernel].clone(),
                start: time.start,
                seconds: time.seconds,
                flops: task.flops,
                bytes: task.bytes,
                least,
                bound,
            }
        })
        .collect()
}

/// The contents of a trace file: complete events (phase `X`) on one thread named `device`, in
/// microseconds.
///
/// Format: "Trace Event Format" of the Chromium project, JSON object form.
pub fn trace_events(device: &str, step: &str, spans: &[Span]) -> Value {
    let thread = json!({
        "ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": { "name": device },
    });
    let process = json!({
        "ph": "M", "name": "process_name", "pid": 1, "args": { "name": step },
    });
    let events = spans.iter().map(|span| {
        let stem = span.kernel.split(' ').next().unwrap_or_default();
        json!({
            "ph": "X", "pid": 1, "tid": 1,
            "name": span.label,
            "cat": stem,
            "ts": 1e6 * span.start,
            "dur": 1e6 * span.seconds,
            "args": {
                "kernel": span.kernel,
                "GFLOP/s": 1e-9 * span.flops as f64 / span.seconds,
                "GB/s": 1e-9 * span.bytes as f64 / span.seconds,
                "share of limit": span.least / span.seconds,
                "bound by": span.bound,
            },
        })
    });
    let events: Vec<Value> = [process, thread].into_iter().chain(events).collect();
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}
