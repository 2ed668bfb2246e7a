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

/// The model of several devices, which measures none: rows for each place, more devices exchange more,
/// and its figures agree with each other.
#[test]
fn a_model_of_scaling_needs_no_device() {
    let model = json(&["bench", "--scaling", "--batch-size", "32", "--json"]);
    assert_eq!(model["card"]["name"], "RTX 4090");
    assert_eq!(model["gradient_bytes"], 4 * 60_979);
    assert_eq!(model["one"]["efficiency"], 1.0);
    let tables = model["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 6);
    for table in tables {
        let rows = table["rows"].as_array().unwrap();
        let devices: Vec<u64> = rows
            .iter()
            .map(|row| row["devices"].as_u64().unwrap())
            .collect();
        let is_divided = table["divided"] == true;
        assert_eq!(
            devices,
            match (table["topology"].as_str().unwrap(), is_divided) {
                ("machine", _) => vec![2, 4, 8],
                // No machine has less than an image.
                (_, true) => vec![2, 4, 8, 16, 32],
                (_, false) => vec![2, 4, 8, 16, 32, 64],
            }
        );
        let figure = |row: &serde_json::Value, name: &str| row[name].as_f64().unwrap();
        for row in rows {
            let images = if is_divided {
                32.0
            } else {
                32.0 * figure(row, "devices")
            };
            assert_eq!(figure(row, "images"), images);
            let ms = figure(row, "compute_ms") + figure(row, "exchange_ms");
            let speed = figure(row, "images_per_second");
            assert!((speed * ms / 1e3 - images).abs() < 1e-6 * images);
            assert!((0.0..1.0).contains(&figure(row, "efficiency")), "{row}");
            assert!((0.0..1.0).contains(&figure(row, "hidden")), "{row}");
        }
        let exchange: Vec<f64> = rows.iter().map(|row| figure(row, "exchange_ms")).collect();
        assert!(exchange.is_sorted() && exchange[0] > 0.0, "{exchange:?}");
    }
    let halves = [
        "bench",
        "--scaling",
        "--batch-size",
        "32",
        "--json",
        "--gradients",
        "f16",
    ];
    let halves = json(&halves);
    assert!(halves["halves_gb_s"].as_f64().unwrap() > 0.0, "{halves}");
    assert_eq!(model["halves_gb_s"], serde_json::Value::Null);
    fails(
        &["bench", "--gradients", "f16"],
        2,
        &["--gradients", "--scaling"],
    );
    fails(
        &["bench", "--scaling", "--gradients", "f8"],
        2,
        &["f32", "f16"],
    );
    let figures = ["--card-gflops", "1000", "--card-bandwidth", "100"];
    let other = json(&[&["bench", "--scaling", "--json"][..], &figures].concat());
    assert_eq!(other["card"]["name"], serde_json::Value::Null);
    assert_eq!(
        json(&["bench", "--scaling", "--card-launch-us", "3", "--json"])["card"]["launch_us"],
        3.0
    );
    fails(
        &["bench", "--card", "RTX 4090"],
        2,
        &["--scaling", "summary --card"],
    );
    fails(
        &["bench", "--data", "x", "--card", "RTX 4090"],
        2,
        &["--scaling"],
    );
    fails(
        &["bench", "--scaling", "--device", "cpu"],
        2,
        &["--device", "--scaling"],
    );
}
