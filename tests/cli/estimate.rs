//! `summary --card`: the estimate for a card that is not here.

use serde_json::Value;

use crate::{fails, json, run};

/// `summary` of a preset with more flags.
fn summary(flags: &str) -> Value {
    let flags = format!("summary --preset pyramidnet110-a48 --json {flags}");
    json(&flags.split(' ').collect::<Vec<_>>())
}

fn number(value: &Value, path: &str) -> f64 {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{path} is not in {value}"))
}

#[test]
fn a_card_is_estimated_from_its_figures() {
    let document = summary("--card rtx-4090");
    let card = &document["card"];
    assert_eq!(card["name"], "RTX 4090");
    for step in ["train", "infer"] {
        let get = |path: &str| number(card, &format!("/{step}/{path}"));
        let near = |own: f64, expected: f64| (own / expected - 1.0).abs() < 1e-9;
        assert!(near(get("arithmetic_ms"), get("flops") / 82_580.0 * 1e-6));
        assert!(near(get("memory_ms"), get("bytes") / 1008.0 * 1e-6));
        assert!(near(get("launch_ms"), get("dispatches") * 5e-3));
        assert!(near(get("latency_ms"), get("serial_steps") * 0.5e-3));
        let bounds = ["arithmetic_ms", "memory_ms", "launch_ms", "latency_ms"].map(get);
        let [low, high] = [get("step_ms/0"), get("step_ms/1")];
        assert!(near(high, bounds.iter().sum()));
        assert!(bounds.iter().all(|bound| low >= *bound) && low < high);
        assert!(near(get("images_per_second/0"), 128e3 / high));
        assert!(near(get("images_per_second/1"), 128e3 / low));
        let kernels = card[step]["kernels"].as_array().unwrap();
        let sum = |key: &str| kernels.iter().map(|row| number(row, key)).sum::<f64>();
        assert!(near(sum("/ms"), low) && near(sum("/share"), 1.0));
        assert_eq!(sum("/launches"), get("dispatches"));
        assert_eq!(card[step]["fits"], true);
    }
    assert_eq!(
        card["train"]["memory_bytes"], document["memory"]["total"],
        "the training step is the one whose memory is shown"
    );
    assert!(number(card, "/infer/step_ms/1") < number(card, "/train/step_ms/0"));
}

#[test]
fn own_figures_replace_those_of_the_table() {
    let table = summary("--card RTX4090");
    let own = summary("--card RTX4090 --card-gflops 40000 --card-memory 0.5");
    let ratio = |path: &str| number(&own, path) / number(&table, path);
    assert!((ratio("/card/train/arithmetic_ms") - 82_580.0 / 40_000.0).abs() < 1e-9);
    assert_eq!(ratio("/card/train/memory_ms"), 1.0);
    assert_eq!(own["card"]["train"]["fits"], false);

    let document =
        summary("--card-gflops 1000 --card-bandwidth 50 --card-launch-us 20 --card-latency-us 1");
    let card = &document["card"];
    assert_eq!(
        (&card["name"], &card["train"]["fits"]),
        (&Value::Null, &Value::Null)
    );
    let launches = number(card, "/train/launch_ms") / number(card, "/train/dispatches");
    assert!((launches - 20e-3).abs() < 1e-12);
    assert!(summary("--batch-size 2").get("card").is_none());
}

#[test]
fn the_estimate_says_what_it_is() {
    let flags = "summary --card rx-7900-xtx --batch-size 4096 --preset pyramidnet110-a270";
    let output = run(&flags.split(' ').collect::<Vec<_>>());
    let text = String::from_utf8_lossy(&output.stdout);
    for words in [
        "nothing is measured",
        "assumed: 5 µs for a launch, 0.5 µs for a wait",
        "images per second",
        "training does not fit; use a smaller --batch-size",
        "two multiply-adds per lane",
        "conv2d_tiled",
        "bound by",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

#[test]
fn cards_that_are_not_known_are_refused() {
    for (flags, words) in [
        (
            "--card RTX-4091",
            &["RTX 3060", "Iris Xe", "--card-gflops"][..],
        ),
        ("--card-gflops 1000", &["--card NAME", "--card-bandwidth"]),
        ("--card-launch-us 3", &["--card NAME"]),
        ("--card-gflops 0 --card-bandwidth 1", &["greater than 0"]),
        ("--card rtx-4090 --card-latency-us nan", &["greater than 0"]),
    ] {
        let flags = format!("summary {flags}");
        fails(&flags.split(' ').collect::<Vec<_>>(), 2, words);
    }
}
