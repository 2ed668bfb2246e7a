//! Files of a run that are removed or damaged.

use std::fs;
use std::path::Path;

use crate::{Place, ended, expect, signal, started};

/// A file that is needed to resume and was removed during the run is written again by a save.
#[test]
fn removed_files_are_written_again() {
    let place = Place::new();
    let (child, _events) = started(&mut place.train("100000", &["--run-dir", "run"]), "saved");
    for name in ["config.toml", "choices.json"] {
        fs::remove_file(place.path("run").join(name)).unwrap();
    }
    signal(&child, "TERM");
    assert_eq!(ended(child).0, Some(143));
    for name in ["config.toml", "choices.json"] {
        assert!(place.path("run").join(name).is_file(), "{name}");
    }
    let (child, _events) = started(&mut place.command(&["train", "--resume", "run"]), "saved");
    signal(&child, "TERM");
    assert_eq!(ended(child).0, Some(143));
    // What never was such a file is not emptied.
    let events = place.path("run/events.jsonl");
    fs::write(&events, "notes without an end").unwrap();
    let words = ["events.jsonl", "another file"];
    expect(&place.run(&["train", "--resume", "run"]), 5, &words);
    assert_eq!(fs::read_to_string(events).unwrap(), "notes without an end");
}

/// The best weights are not in the state of a later epoch, so their damage is noticed at once.
#[test]
fn damaged_best_weights_are_named() {
    let place = Place::new();
    let output = place.train("4", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let progress: serde_json::Value =
        serde_json::from_str(&place.state("run").metadata["pyr_wgpu_progress"]).unwrap();
    assert!(
        progress["best"]["epoch"].as_u64().unwrap() < 4,
        "{progress}"
    );
    let best = fs::read(place.path("run/best.safetensors")).unwrap();
    let foreign = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/additive_basic.safetensors"
    );
    let foreign = fs::read(foreign).unwrap();
    for bytes in [&best[..best.len() / 2], &foreign, b"junk"] {
        fs::write(place.path("run/best.safetensors"), bytes).unwrap();
        let output = place.run(&["train", "--resume", "run", "--epochs", "5"]);
        let words = [
            "best.safetensors",
            "weights of epoch",
            "restore it, or remove it",
        ];
        expect(&output, 5, &words);
    }
}

/// Damaged files of a run are named; none of them panics or is silently ignored.
#[test]
fn damaged_records_are_named() {
    let place = Place::new();
    let output = place.train("1", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let damage = |file: &str, text: &[u8]| {
        let path: &Path = &place.path("run").join(file);
        let before = fs::read(path).unwrap();
        fs::write(path, text).unwrap();
        let output = place.run(&["train", "--resume", "run", "--epochs", "2"]);
        fs::write(path, before).unwrap();
        expect(&output, 5, &[file]);
    };
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    for (from, to) in [
        ("image_size = 8", "image_size = 0"),
        ("epochs = 1", "epochs = 0"),
        ("batch_size = 8", "batch_size = 0"),
        ("classes = 3", "classes = 0"),
        ("dataset = \"folder\"", "dataset = \"mnist\""),
        ("momentum = 0.9", "momentum = nan"),
        ("momentum = 0.9", "momentum = 0.9\nwarmup = 5"),
    ] {
        assert!(config.contains(from), "{config}");
        damage("config.toml", config.replace(from, to).as_bytes());
    }
    damage("config.toml", b"\xff\xfe");
    damage("environment.json", b"{");
    damage("choices.json", b"[");
    damage("metrics.csv", b"\xff\xfe\n");
    damage("metrics.csv", b"junk\n1,2,3\n");
    damage("events.jsonl", b"junk\n");
    // As without permission, which the administrator always has.
    fs::create_dir(place.path("loop")).unwrap();
    std::os::unix::fs::symlink("config.toml", place.path("loop/config.toml")).unwrap();
    let words = ["config.toml cannot be read", "permissions"];
    expect(&place.run(&["train", "--resume", "loop"]), 5, &words);
    let state = fs::read(place.path("run/state.safetensors")).unwrap();
    damage("state.safetensors", &state[..state.len() / 2]);
    // The position is JSON inside a JSON string; replacements keep its length.
    for (from, to) in [
        ("\\\"epoch\\\":2", "\\\"epoch\\\":0"),
        ("\\\"step\\\":0", "\\\"step\\\":7"),
        ("\\\"metrics\\\":[0,", "\\\"metrics\\\":[9,"),
        (
            "\\\"best\\\":{\\\"epoch\\\":1",
            "\\\"best\\\":{\\\"epoch\\\":9",
        ),
    ] {
        let position = state.windows(from.len()).position(|w| w == from.as_bytes());
        let start = position.unwrap_or_else(|| panic!("{from}"));
        let mut damaged = state.clone();
        damaged[start..start + to.len()].copy_from_slice(to.as_bytes());
        damage("state.safetensors", &damaged);
    }
}
