//! Signals, and readers of a run's output that end or stop reading.

use std::fs;
use std::io::{BufRead, PipeReader, PipeWriter, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Place, ended, expect, signal, started};

/// Signals save and stop; a closed terminal is one of them, unless it is to be ignored.
#[test]
fn signals_save() {
    let place = Place::new();
    for (name, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if name == "HUP" && ignores_hangups() {
            println!("SIGHUP is ignored here, as under nohup");
            continue;
        }
        let command = &mut place.train("100000", &["--run-dir", name]);
        let (child, _events) = started(command, "saved");
        signal(&child, name);
        if name == "HUP" {
            signal(&child, name);
        }
        let (status, stderr) = ended(child);
        assert_eq!(status, Some(code), "{stderr}");
        assert!(stderr.contains("stopped and saved"), "{stderr}");
        place.state(name);
    }
    let command = place.train("100000", &["--run-dir", "nohup"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "trap '' HUP; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(place.root.path());
    let (child, mut events) = started(&mut shell, "saved");
    signal(&child, "HUP");
    let mut line = String::new();
    for _ in 0..4 {
        line.clear();
        assert!(events.read_line(&mut line).unwrap() > 0, "it ended");
    }
    signal(&child, "TERM");
    assert_eq!(ended(child).0, Some(143));
}

/// Whether this process, and so its children, was started with SIGHUP ignored.
fn ignores_hangups() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits & 1 == 1)
}

/// A message that nobody reads does not stop training; an event that cannot be printed on stdout
/// does, after saving.
#[test]
fn lost_readers_lose_no_work() {
    let place = Place::new();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let status = place
        .train("2", &["--run-dir", "stderr"])
        .stderr(closed())
        .status();
    assert_eq!(status.unwrap().code(), Some(0));
    // An error that cannot be printed keeps its exit code.
    let mut again = place.train("2", &["--run-dir", "stderr"]);
    assert_eq!(again.stderr(closed()).status().unwrap().code(), Some(2));
    // After Ctrl-C with a closed stderr the exit code is still that of the signal.
    let command = &mut place.train("100000", &["--run-dir", "tee"]);
    let (mut child, _events) = started(command, "saved");
    drop(child.stderr.take());
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let mut sinks = vec![("closed", closed())];
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        sinks.push(("full", full.into()));
    }
    for (name, stdout) in sinks {
        let flags = ["--run-dir", name, "--json"];
        let output = place
            .train("1000", &flags)
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output();
        let output = output.unwrap();
        expect(&output, 1, &["stdout", "saved"]);
        place.state(name);
    }
    if let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") {
        let status = place
            .train("2", &["--run-dir", "log"])
            .stderr(full)
            .status();
        assert_eq!(status.unwrap().code(), Some(0));
    }
}

/// A pipe without room: writing to it waits until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let set = |writer: &PipeWriter, flags: i32| {
        // SAFETY: the descriptor is open, and its access mode is not among what this sets.
        assert_eq!(
            unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETFL, flags) },
            0
        );
    };
    set(&writer, libc::O_NONBLOCK);
    for size in [4096, 1] {
        while writer.write(&[b'.'; 4096][..size]).is_ok() {}
    }
    set(&writer, 0);
    (reader, writer)
}

/// Waits until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "waited for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A reader of messages that stops reading without closing does not stop training. One of events
/// does, but a signal still saves and stops.
#[test]
fn readers_that_stop_reading_lose_no_work() {
    let place = Place::new();
    for (run, epochs) in [("messages", 3), ("events", 0), ("both", 0)] {
        let (_reader, writer) = full_pipe();
        let copy = writer.try_clone().unwrap();
        let mut command = place.train("100000", &["--run-dir", run]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        if run != "messages" {
            command.arg("--json").stdout(copy);
        }
        if run != "events" {
            command.stderr(writer);
        }
        let mut child = command.spawn().unwrap();
        let events =
            || fs::read_to_string(place.path(run).join("events.jsonl")).unwrap_or_default();
        until("the run to begin", || events().contains("\"started\""));
        until("epochs", || {
            events().matches("\"event\":\"epoch\"").count() >= epochs
        });
        std::thread::sleep(Duration::from_millis(200));
        signal(&child, "TERM");
        let start = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(143), "{run}");
        let taken = start.elapsed();
        assert!(taken < Duration::from_secs(15), "{run}: {taken:?}");
        let events = events();
        let last = events.lines().last().unwrap();
        assert!(last.contains("\"stopped\""), "{run}: {last}");
        place.state(run);
    }
}
