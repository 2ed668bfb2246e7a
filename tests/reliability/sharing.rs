//! Processes that start at once, or write into one directory.

use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::{Place, ended, expect, signal, started};

/// One process at a time writes into a directory, and no two new runs share one.
#[test]
fn two_at_once() {
    let place = Place::new();
    let command = &mut place.train("100000", &["--run-dir", "run"]);
    let (child, _events) = started(command, "saved");
    let words = [format!("process {}", child.id())];
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    expect(&place.run(&["train", "--resume", "run"]), 2, &words);
    let same = place.train("2", &["--run-dir", "run"]).output();
    expect(&same.unwrap(), 2, &words);
    // The lock ends with its process, however that ends.
    signal(&child, "KILL");
    ended(child);
    let (child, _events) = started(&mut place.command(&["train", "--resume", "run"]), "saved");
    // Whoever removes the lock lets in a second process, and the first one stops.
    signal(&child, "STOP");
    fs::remove_file(place.path("run/lock")).unwrap();
    let (second, _events) = started(&mut place.command(&["train", "--resume", "run"]), "saved");
    signal(&child, "CONT");
    let (code, stderr) = ended(child);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains(&format!("process {}", second.id())),
        "{stderr}"
    );
    // Without a second one, the first takes a new lock.
    fs::remove_file(place.path("run/lock")).unwrap();
    while !place.path("run/lock").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    expect(&place.run(&["train", "--resume", "run"]), 2, &["in use by"]);
    // Also if the second one has ended before the first one writes again.
    signal(&second, "STOP");
    fs::remove_file(place.path("run/lock")).unwrap();
    let (third, _events) = started(&mut place.command(&["train", "--resume", "run"]), "saved");
    signal(&third, "TERM");
    let number = third.id();
    assert_eq!(ended(third).0, Some(143));
    let state = place.state("run");
    signal(&second, "CONT");
    let (code, stderr) = ended(second);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains(&format!("process {number}")), "{stderr}");
    assert!(place.state("run") == state, "the state was overwritten");
}

/// New runs without a name get directories of their own, however close together they start.
#[test]
fn new_runs_share_no_directory() {
    let place = Place::new();
    let spawn = |_| {
        let mut command = place.train("1", &["--quiet"]);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<Child> = (0..6).map(spawn).collect();
    for child in children {
        let (code, stderr) = ended(child);
        assert_eq!(code, Some(0), "{stderr}");
    }
    for number in 1..=6 {
        let table = place.path(&format!("runs/run-folder-{number}/metrics.csv"));
        assert_eq!(fs::read_to_string(table).unwrap().lines().count(), 2);
    }
}
