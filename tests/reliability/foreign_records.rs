//! Files of a run that are another run's, or were removed or edited by a user.

use std::fs;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use crate::changed_data::stopped_midway;
use crate::{Place, expect};

/// A row of text is no row, and weights of another run or epoch are not those of the best epoch.
#[test]
fn records_of_another_kind_are_named() {
    let place = Place::new();
    for (run, seed) in [("run", "1"), ("other", "2")] {
        let output = place.train("4", &["--run-dir", run, "--quiet", "--seed", seed]);
        assert!({ output }.output().unwrap().status.success());
    }
    let progress = &place.state("run").metadata["pyr_wgpu_progress"];
    let progress: serde_json::Value = serde_json::from_str(progress).unwrap();
    assert!(
        progress["best"]["epoch"].as_u64().unwrap() < 4,
        "{progress}"
    );
    let best = place.path("run/best.safetensors");
    let own = fs::read(&best).unwrap();
    let resume = || place.run(&["train", "--resume", "run", "--epochs", "5"]);
    for foreign in ["other/best.safetensors", "run/last.safetensors"] {
        fs::copy(place.path(foreign), &best).unwrap();
        expect(&resume(), 5, &["best.safetensors", "another epoch or run"]);
    }
    fs::write(&best, &own).unwrap();
    let table = place.path("run/metrics.csv");
    let rows = fs::read_to_string(&table).unwrap();
    for row in [
        "5,a,b,c,d,e,f,g,h,i,j",
        "5,,,,,,,,,,",
        "5,1,1,1,1,nan,,1,1,1,1",
    ] {
        fs::write(&table, format!("{rows}{row}\n")).unwrap();
        expect(&resume(), 5, &["metrics.csv, line 6"]);
    }
    // What is missing or can be written again is said.
    fs::remove_file(&table).unwrap();
    fs::remove_file(place.path("run/events.jsonl")).unwrap();
    fs::write(place.path("run/classes.txt"), "c0\nc").unwrap();
    let words = [
        "note: events.jsonl was missing",
        "note: metrics.csv was missing",
        "note: metrics.csv lacks epochs whose rows are lost: 1, 2, 3, 4\n",
        "note: classes.txt was damaged",
        "finished",
    ];
    expect(&resume(), 0, &words);
    let classes = fs::read_to_string(place.path("run/classes.txt")).unwrap();
    assert_eq!(classes, "c0\nc1\nc2\n");
}

/// States and records of another run are named before anything is written.
#[test]
fn states_and_records_of_another_run_are_named() {
    let place = Place::new();
    for (run, flag, value) in [
        ("run", "--seed", "1"),
        ("seed", "--seed", "2"),
        ("rate", "--lr", "0.01"),
        ("twin", "--seed", "1"),
    ] {
        let output = place.train("3", &["--run-dir", run, "--quiet", flag, value]);
        assert!({ output }.output().unwrap().status.success());
    }
    let resume = || place.run(&["train", "--resume", "run", "--epochs", "4"]);
    let files = [
        "state.safetensors",
        "best.safetensors",
        "last.safetensors",
        "metrics.csv",
        "events.jsonl",
    ];
    let read = |name: &str| fs::read(place.path("run").join(name)).unwrap();
    let own = files.map(read);
    for (other, copied, words) in [
        (
            "seed",
            &files[..1],
            "state.safetensors is that of another run",
        ),
        (
            "seed",
            &files[..2],
            "state.safetensors is that of another run",
        ),
        (
            "rate",
            &files[..3],
            "state.safetensors is that of another run",
        ),
        (
            "seed",
            &files[3..4],
            "metrics.csv and events.jsonl have different",
        ),
        (
            "seed",
            &files[4..],
            "metrics.csv and events.jsonl have different",
        ),
        (
            "seed",
            &files[3..],
            "metrics.csv and events.jsonl are those of another",
        ),
    ] {
        for name in copied {
            let from = place.path(other).join(name);
            fs::copy(from, place.path("run").join(name)).unwrap();
        }
        let before = files.map(read);
        expect(&resume(), 5, &[words, "restore"]);
        assert!(files.map(read) == before, "{other} {copied:?}: written");
        for (name, bytes) in files.iter().zip(&own) {
            fs::write(place.path("run").join(name), bytes).unwrap();
        }
    }
    // A copy of a run is as good as the run.
    for name in &files {
        let from = place.path("twin").join(name);
        fs::copy(from, place.path("run").join(name)).unwrap();
    }
    expect(&resume(), 0, &["finished"]);
}

/// A run that has completed no epoch has no best weights.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn best_weights_before_the_first_epoch_are_foreign() {
    let place = Place::new();
    stopped_midway(&place, "run");
    let weights = place.path("run/last.safetensors");
    fs::copy(weights, place.path("run/best.safetensors")).unwrap();
    let output = place.run(&["train", "--resume", "run"]);
    expect(&output, 5, &["best.safetensors", "no best epoch"]);
}

/// The end of a run is recorded even if its best weights are missing.
#[test]
fn a_run_ends_without_its_best_weights() {
    let place = Place::new();
    let output = place.train("4", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let events = place.path("run/events.jsonl");
    let lines = fs::read_to_string(&events).unwrap();
    let (before, finished) = lines.trim_end().rsplit_once('\n').unwrap();
    fs::write(&events, format!("{before}\n")).unwrap();
    fs::remove_file(place.path("run/best.safetensors")).unwrap();
    let output = place.run(&["train", "--resume", "run"]);
    expect(&output, 0, &["best.safetensors is missing", "finished"]);
    expect(&output, 0, &["predict run/last.safetensors"]);
    let again = fs::read_to_string(&events).unwrap();
    let best = |line: &str| -> serde_json::Value {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(event["event"], "finished");
        event["best_epoch"].clone()
    };
    assert_eq!(best(again.lines().last().unwrap()), best(finished));
    let output = place.run(&["train", "--resume", "run"]);
    expect(&output, 2, &["completed all"]);
}

/// A value edited in `config.toml` is a change like that of a flag.
#[test]
fn edited_configurations_are_noticed() {
    let place = Place::new();
    let output = place.train("1", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let path = place.path("run/config.toml");
    let written = fs::read_to_string(&path).unwrap();
    let resume = |flags: &[&str]| place.run(&[&["train", "--resume", "run"], flags].concat());
    for (from, to, key, flag) in [
        (
            "learning_rate = 0.1\n",
            "learning_rate = 0.5\n",
            "recipe.learning_rate",
            "--lr",
        ),
        ("seed = 1\n", "seed = 2\n", "seed", "--seed"),
        (
            "momentum = 0.9\n",
            "momentum = 0.5\n",
            "recipe.momentum",
            "--momentum",
        ),
        (
            "seed = 1\n",
            "seed = 1\nmicro_batch = 4\n",
            "micro_batch",
            "--micro-batch",
        ),
    ] {
        assert!(written.contains(from), "{written}");
        fs::write(&path, written.replace(from, to)).unwrap();
        let words = [key, "in config.toml", flag, "--allow"];
        expect(&resume(&["--epochs", "2"]), 2, &words);
    }
    let edited = written.replace("learning_rate = 0.1\n", "learning_rate = 0.5\n");
    // A flag says again what the run was trained with.
    fs::write(&path, &edited).unwrap();
    expect(&resume(&["--epochs", "2", "--lr", "0.1"]), 0, &["rate 0.1"]);
    fs::write(&path, edited.replace("epochs = 1", "epochs = 3")).unwrap();
    expect(&resume(&["--allow", "lr"]), 0, &["3 epochs", "rate 0.5"]);
    // What was allowed once is the run's.
    expect(&resume(&["--epochs", "4"]), 0, &["rate 0.5"]);
}
