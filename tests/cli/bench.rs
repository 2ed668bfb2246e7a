//! The trace of a profile.

use std::fs;

use crate::{fails, json, path};

#[test]
fn a_profile_is_a_trace_of_every_dispatch() {
    let directory = tempfile::tempdir().unwrap();
    let trace = path(directory.path(), "step.json");
    let network = ["--depth", "8", "--alpha", "4", "--image-size", "8"];
    let bench = ["bench", "--batch-size", "2", "--seconds", "0.1", "--json"];
    let on = |device| [&bench[..], &network, &["--device", device, "--profile"]].concat();
    let report = json(&[&on("cpu")[..], &[&trace]].concat());
    let text = fs::read_to_string(&trace).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let events = value["traceEvents"].as_array().unwrap();
    let mut end = 0.0;
    let mut count = 0;
    for event in events.iter().filter(|event| event["ph"] == "X") {
        let (start, duration) = (event["ts"].as_f64(), event["dur"].as_f64());
        let (start, duration) = (start.unwrap(), duration.unwrap());
        assert!(start >= end - 1e-3 && duration >= 0.0, "{event}");
        end = start + duration;
        count += 1;
    }
    assert_eq!(report["dispatches"], count);
    // A device without timestamps is an error, and the path is checked before measuring.
    fails(&[&on("reference")[..], &[&trace]].concat(), 3, &["trace"]);
    let nowhere = path(directory.path(), "no/step.json");
    fails(
        &[&on("cpu")[..], &[&nowhere]].concat(),
        1,
        &["no/step.json"],
    );
}
