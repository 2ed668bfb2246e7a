//! What resuming completes, compares and accepts.

use std::fs;

use crate::{Place, expect};

/// What a save did not come to write is written when the run resumes.
#[test]
fn resuming_completes_a_save() {
    let place = Place::new();
    let output = place.train("2", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let reference = place.state("run");
    let last = fs::read(place.path("run/last.safetensors")).unwrap();
    let path = place.path("run/last.safetensors");
    fs::write(&path, &last[..last.len() / 2]).unwrap();
    let resumed = place.run(&["train", "--resume", "run"]);
    expect(
        &resumed,
        2,
        &["last.safetensors", "completed all", "--epochs"],
    );
    assert!(fs::read(&path).unwrap() == last);
    // The process ended before it recorded the end of the run.
    let events = place.path("run/events.jsonl");
    let lines = fs::read_to_string(&events).unwrap();
    let (before, _) = lines.trim_end().rsplit_once('\n').unwrap();
    fs::write(&events, format!("{before}\n{{\"event\":\"fin")).unwrap();
    fs::remove_file(&path).unwrap();
    expect(&place.run(&["train", "--resume", "run"]), 0, &["finished"]);
    place.check("run", &reference, 2, "completed");
    // What can be derived from the other files is.
    for derived in ["environment.json", "classes.txt", "metrics.csv"] {
        fs::remove_file(place.path("run").join(derived)).unwrap();
    }
    let resumed = place.run(&["train", "--resume", "run", "--epochs", "3"]);
    let words = [
        "environment.json was missing",
        "classes.txt was missing",
        "finished",
    ];
    expect(&resumed, 0, &words);
    let classes = fs::read_to_string(place.path("run/classes.txt")).unwrap();
    assert_eq!(classes, "c0\nc1\nc2\n");
    let reference = place.state("run");
    place.check("run", &reference, 3, "derived");
    // Without the best weights, those of the best of the epochs that follow take their place.
    fs::remove_file(place.path("run/best.safetensors")).unwrap();
    let resumed = place.run(&["train", "--resume", "run", "--epochs", "4"]);
    expect(&resumed, 0, &["best.safetensors", "finished"]);
    assert!(place.path("run/best.safetensors").is_file());
    // Weights without a state are not a run that ended before its first save.
    let state = place.path("run/state.safetensors");
    let bytes = fs::read(&state).unwrap();
    fs::remove_file(&state).unwrap();
    let words = ["last.safetensors", "no state.safetensors", "restore"];
    expect(&place.run(&["train", "--resume", "run"]), 5, &words);
    fs::write(&state, bytes).unwrap();
    expect(
        &place.run(&["train", "--resume", "run"]),
        2,
        &["completed all"],
    );
}

/// A flag is allowed to differ only together with that flag, and what is repeated is no error.
#[test]
fn what_is_allowed_is_given() {
    let place = Place::new();
    let output = place.train("1", &["--run-dir", "run", "--quiet"]).output();
    assert!(output.unwrap().status.success());
    let resume = |epochs: &str, flags: &[&str]| {
        let resume = ["train", "--resume", "run", "--epochs", epochs];
        place.run(&[&resume[..], flags].concat())
    };
    expect(
        &resume("2", &["--allow", "lr"]),
        2,
        &["--allow lr", "give it"],
    );
    expect(&resume("2", &["--lr", "0.01"]), 2, &["--lr", "--allow"]);
    for epochs in ["2", "3"] {
        let flags = ["--lr", "0.01", "--allow", "lr,data"];
        expect(&resume(epochs, &flags), 0, &["finished"]);
    }
    expect(
        &resume("4", &["--checked"]),
        2,
        &["--device cpu", "--checked"],
    );
}

/// The directory of the data is recorded without `..`, which may lead elsewhere later.
#[test]
fn the_directory_of_the_data_is_recorded_in_full() {
    let place = Place::new();
    fs::create_dir(place.path("work")).unwrap();
    std::os::unix::fs::symlink(place.path("work"), place.path("link")).unwrap();
    let mut train = place.train("1", &["--run-dir", "run", "--quiet"]);
    let arguments: Vec<_> = train.get_args().map(ToOwned::to_owned).collect();
    for (data, recorded) in [
        ("link/../data", "data"),
        ("data/.", "data"),
        ("link/../link/../data", "data"),
    ] {
        let run = format!("run{}", data.len());
        train = place.command(&[]);
        train.args(arguments.iter().map(|argument| match argument.to_str() {
            Some("data") => data.into(),
            Some("run") => run.as_str().into(),
            _ => argument.clone(),
        }));
        assert!(train.status().unwrap().success());
        let config = fs::read_to_string(place.path(&run).join("config.toml")).unwrap();
        let root = place.root.path().canonicalize().unwrap();
        let expected = format!("data = \"{}\"", root.join(recorded).display());
        assert!(config.contains(&expected), "{config} lacks {expected}");
    }
}
