//! Schedules of the learning rate.

use std::fs;
use std::path::Path;

use crate::{fails, path, run};

/// The rates that are recorded, and what a resumed run may change.
#[test]
fn schedules_are_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let run_dir = path(directory.path(), "run");
    let network = ["train", "--depth", "8", "--alpha", "3", "--image-size", "8"];
    let recipe = ["--epochs", "3", "--batch-size", "512", "--lr", "0.04"];
    let schedule = ["--schedule", "cosine", "--warmup", "1", "--device", "cpu"];
    let output = run(&[&network[..], &recipe, &schedule, &["--run-dir", &run_dir]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("falling to 0 as a cosine"), "{stderr}");
    let metrics = fs::read_to_string(Path::new(&run_dir).join("metrics.csv")).unwrap();
    let rates: Vec<f64> = metrics
        .lines()
        .skip(1)
        .map(|row| row.split(',').nth(1).unwrap().parse().unwrap())
        .collect();
    // The first step of the warm-up, and the start and the middle of half a cosine.
    assert!(rates[0] > 0.0 && rates[0] < 0.04, "{metrics}");
    assert!((rates[1] - 0.04).abs() < 1e-6, "{metrics}");
    assert!((rates[2] - 0.02).abs() < 1e-6, "{metrics}");
    let resume = ["train", "--resume", &run_dir, "--device", "cpu"];
    let longer = [&resume[..], &["--epochs", "4"]].concat();
    fails(&longer, 2, &["--epochs", "the schedule ends with them"]);
    for (flags, word) in [
        (&["--schedule", "linear"][..], "step, cosine or polynomial"),
        (
            &["--schedule", "cosine", "--milestones", "2"],
            "--milestones",
        ),
        (&["--power", "2"], "--schedule polynomial"),
        (&["--warmup", "5", "--epochs", "5"], "--warmup"),
    ] {
        let arguments = [&["train", "--quiet", "--device", "cpu"], flags].concat();
        fails(&arguments, 2, &[word]);
    }
}
