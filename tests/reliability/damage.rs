//! Files of a run that are removed or damaged.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use pyr_wgpu::checkpoint::Values;

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

/// A changed number in the state is noticed before the files that repeat it are written again.
#[test]
fn changed_states_are_noticed() {
    let place = Place::new();
    let output = place.train("2", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let path = place.path("run/state.safetensors");
    let (state, bytes) = (place.state("run"), fs::read(&path).unwrap());
    let last = place.path("run/last.safetensors");
    let weights = fs::read(&last).unwrap();
    for name in ["fc.weight", "momentum.fc.weight", "bn1.running_var"] {
        let Values::F32(values) = state.tensors[name].values() else {
            panic!("{name} holds real numbers");
        };
        let own: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let at = bytes.windows(own.len()).position(|window| window == own);
        let mut changed = bytes.clone();
        // The lowest bit of the first number.
        changed[at.unwrap()] ^= 1;
        fs::write(&path, changed).unwrap();
        let output = place.run(&["train", "--resume", "run", "--epochs", "3"]);
        expect(&output, 5, &["state.safetensors is damaged", "restore"]);
        assert!(
            fs::read(&last).unwrap() == weights,
            "{name}: last is written"
        );
    }
    // As in older versions.
    let mut older = state;
    older.metadata.remove("pyr_wgpu_checksum").unwrap();
    let progress = older.metadata.get_mut("pyr_wgpu_progress").unwrap();
    let mut fields: serde_json::Value = serde_json::from_str(progress).unwrap();
    for key in ["run", "results"] {
        assert!(fields.as_object_mut().unwrap().remove(key).is_some());
    }
    *progress = fields.to_string();
    older.save(&path).unwrap();
    let config = place.path("run/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let (text, id) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(id.starts_with("# Run id: "), "{id}");
    fs::write(&config, format!("{text}\n")).unwrap();
    for epochs in ["3", "4"] {
        let output = place.run(&["train", "--resume", "run", "--epochs", epochs]);
        expect(&output, 0, &["finished"]);
    }
}

/// A pipe in the place of a file is not waited for.
#[test]
fn pipes_are_not_opened() {
    let place = Place::new();
    let output = place.train("1", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let pipe = |path: &Path| {
        let made = Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    };
    for name in [
        "config.toml",
        "environment.json",
        "choices.json",
        "classes.txt",
        "metrics.csv",
        "events.jsonl",
        "state.safetensors",
    ] {
        let path = place.path("run").join(name);
        let before = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        pipe(&path);
        let mut resume = place.command(&["train", "--resume", "run", "--epochs", "2"]);
        let child = resume.stderr(Stdio::piped()).spawn().unwrap();
        let (code, stderr) = ended(child);
        fs::remove_file(&path).unwrap();
        fs::write(&path, before).unwrap();
        assert!(matches!(code, Some(4 | 5)), "{name}: {code:?} {stderr}");
        assert!(stderr.contains(name), "{stderr}");
    }
    let named = place.path("named");
    pipe(&named);
    for (arguments, code) in [
        (&["train", "--config", "named"][..], 2),
        (
            &[
                "convert",
                "run/best.safetensors",
                "best.onnx",
                "--class-names",
                "named",
            ],
            4,
        ),
    ] {
        let output = place.run(arguments);
        expect(&output, code, &["named", "not a regular file"]);
    }
}

/// The directory of a run disappears while it trains.
#[test]
fn removed_directories_are_named() {
    let place = Place::new();
    let (child, _events) = started(&mut place.train("100000", &["--run-dir", "run"]), "saved");
    fs::rename(place.path("run"), place.path("elsewhere")).unwrap();
    let (code, stderr) = ended(child);
    assert_eq!(code, Some(5), "{stderr}");
    assert!(stderr.contains("removed or renamed"), "{stderr}");
    // A directory with the name of a temporary file is somebody's.
    fs::create_dir(place.path("elsewhere/.pyr-wgpu-a.tmp")).unwrap();
    let mut resume = place.command(&["train", "--resume", "elsewhere"]);
    let (child, _events) = started(&mut resume, "saved");
    signal(&child, "TERM");
    assert_eq!(ended(child).0, Some(143));
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
    damage("environment.json", b"{\"device\":\"cpu\",\"ranks\":[1,1]}");
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
