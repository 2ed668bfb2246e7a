//! Kills, full disks and missing threads at every call or at any moment, by
//! `tests/faults/interpose.rs`.

#![cfg(all(target_os = "linux", target_env = "gnu"))]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use pyr_wgpu::rng::{Purpose, Stream};

use crate::{Place, ended, expect, text};

const SIGKILL: i32 = 9;

/// The faults of `tests/faults/interpose.rs`.
fn interposer(place: &Place) -> PathBuf {
    let library = place.path("libinterpose.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/interpose.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args(["--edition", "2024", "--crate-type", "cdylib"])
        .args(["-C", "panic=abort", "-o"])
        .arg(&library)
        .arg(source)
        .status();
    assert!(status.unwrap().success());
    library
}

/// A kill, and a disk that becomes full, at every single write, synchronisation and rename of a
/// run: resumed, it ends with the bits of an undisturbed one, and no row is lost or doubled.
#[test]
fn every_write_may_be_the_last() {
    let place = Place::new();
    let library = interposer(&place);
    let epochs = 2;
    let train = |run: &str, fault: &str, at: u64| {
        let run_dir = ["--run-dir", run, "--checkpoint-every", "5", "--quiet"];
        let mut command = place.train("2", &run_dir);
        command
            .env("LD_PRELOAD", &library)
            .env("FAULT", fault)
            .env("FAULT_AT", at.to_string())
            .env("FAULT_COUNT", place.path("count"));
        command.output().unwrap()
    };
    let output = train("whole", "kill", u64::MAX);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let reference = place.state("whole");
    let calls = fs::read_to_string(place.path("count")).unwrap();
    let calls: u64 = calls.parse().unwrap();
    assert!(calls > 50, "{calls} calls");
    // Where a run ended, by whether and how it could be continued.
    let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
    for fault in ["kill", "full"] {
        for at in 1..=calls {
            let what = format!("{fault} at call {at} of {calls}");
            let run = format!("{fault}{at}");
            let output = train(&run, fault, at);
            match fault {
                "kill" => assert_eq!(output.status.signal(), Some(SIGKILL), "{what}"),
                _ => {
                    expect(&output, 1, &["free some space"]);
                    let stderr = text(&output.stderr);
                    assert_eq!(stderr.lines().count(), 1, "{what}: {stderr}");
                }
            }
            let resumed = place.run(&["train", "--resume", &run, "--quiet"]);
            let how = match resumed.status.code() {
                Some(0) => "resumed",
                // The end was recorded, but not yet on the disk.
                Some(2) => {
                    expect(&resumed, 2, &["completed all of its 2 epochs"]);
                    "complete"
                }
                // Nothing is lost: the run had not begun.
                _ => {
                    expect(&resumed, 5, &["no run has begun"]);
                    let again = train(&run, "kill", u64::MAX);
                    assert!(again.status.success(), "{what}: {}", text(&again.stderr));
                    "begun again"
                }
            };
            *ends.entry(how).or_default() += 1;
            place.check(&run, &reference, epochs, &what);
            fs::remove_dir_all(place.path(&run)).unwrap();
        }
    }
    println!("{calls} calls: {ends:?}");
    assert!(
        ends["resumed"] > ends["begun again"] && ends["complete"] <= 4,
        "{ends:?}"
    );
}

/// Kills at any moment, several times in one run: half of them after a random time, half at a
/// random call that writes. `PYR_WGPU_TEST_KILLS` sets their number.
#[test]
fn a_run_survives_kills() {
    let place = Place::new();
    let library = interposer(&place);
    let wanted = std::env::var("PYR_WGPU_TEST_KILLS");
    let wanted: u32 = wanted.map_or(30, |text| text.parse().unwrap());
    let flags = ["--checkpoint-every", "3", "--quiet", "--run-dir"];
    let begin = |run: &str| place.train("4", &[&flags[..], &[run]].concat());
    let start = Instant::now();
    let whole = begin("whole")
        .env("LD_PRELOAD", &library)
        .env("FAULT_COUNT", place.path("count"))
        .status();
    assert!(whole.unwrap().success());
    let (duration, calls) = (start.elapsed(), place.path("count"));
    let calls: u64 = fs::read_to_string(calls).unwrap().parse().unwrap();
    let reference = place.state("whole");
    // The moments are random, but the same in every run of the test.
    let mut random = Stream::new(1, Purpose::Shuffle, 0, 0);
    let mut kills = [0, 0];
    for round in 0.. {
        if kills.iter().sum::<u32>() >= wanted {
            break;
        }
        let run = format!("run{round}");
        let what = format!("round {round} after {kills:?} kills");
        loop {
            let mut command = match place.path(&run).join("config.toml").exists() {
                true => place.command(&["train", "--resume", &run, "--quiet"]),
                false => begin(&run),
            };
            let timed = random.below(2) == 0;
            if !timed {
                let call = 1 + random.below(calls as u32);
                command
                    .env("LD_PRELOAD", &library)
                    .env("FAULT", "kill")
                    .env("FAULT_AT", call.to_string());
            }
            let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
            if timed {
                std::thread::sleep(duration * random.below(1000) / 1000);
                child.kill().unwrap();
            }
            let status = child.wait().unwrap();
            match (status.signal(), status.code()) {
                (Some(SIGKILL), _) => kills[usize::from(!timed)] += 1,
                (_, Some(0)) => break,
                // It was killed after it had recorded its end.
                (_, Some(2)) => {
                    let stderr = ended(child).1;
                    assert!(stderr.contains("completed all"), "{what}: {stderr}");
                    break;
                }
                _ => panic!("{what}: {status}, {}", ended(child).1),
            }
        }
        place.check(&run, &reference, 4, &what);
        fs::remove_dir_all(place.path(&run)).unwrap();
    }
    println!("{} kills by time, {} inside writing", kills[0], kills[1]);
}

/// A run that was killed before its first save starts again from its beginning.
#[test]
fn a_run_without_a_state_resumes() {
    let place = Place::new();
    let output = place
        .train("2", &["--run-dir", "whole", "--quiet"])
        .output();
    assert!(output.unwrap().status.success());
    killed_at(&place, "run", 24);
    {
        for missing in [
            "environment.json",
            "choices.json",
            "classes.txt",
            "metrics.csv",
        ] {
            fs::remove_file(place.path("run").join(missing)).unwrap();
        }
    }
    fs::write(place.path("run/.pyr-wgpu-abc.tmp"), "left").unwrap();
    fs::rename(place.path("data"), place.path("moved")).unwrap();
    let resumed = place.run(&["train", "--resume", "run"]);
    expect(&resumed, 4, &["data", "--data DIR --allow data"]);
    fs::rename(place.path("moved"), place.path("data")).unwrap();
    let again = place.train("2", &["--run-dir", "run"]).output().unwrap();
    expect(&again, 2, &["not empty", "--resume"]);
    let resumed = place.run(&["train", "--resume", "run"]);
    expect(&resumed, 0, &["finished"]);
    place.check("run", &place.state("whole"), 2, "resumed");
}

/// Kills a run of two epochs that saves after every step, at a call that writes.
pub(crate) fn killed_at(place: &Place, run: &str, call: u32) {
    let flags = ["--run-dir", run, "--checkpoint-every", "1", "--quiet"];
    let mut command = place.train("2", &flags);
    command
        .env("LD_PRELOAD", interposer(place))
        .env("FAULT", "kill")
        .env("FAULT_AT", call.to_string());
    assert_eq!(command.status().unwrap().signal(), Some(SIGKILL));
}

/// Where no thread can be started, there is one error that says what to raise, or fewer threads
/// do; nothing panics.
#[test]
fn missing_threads_are_an_error() {
    let place = Place::new();
    let library = interposer(&place);
    let run = |mut command: Command, at: u32| {
        command
            .env("LD_PRELOAD", &library)
            .env("FAULT", "threads")
            .env("FAULT_AT", at.to_string());
        command.output().unwrap()
    };
    let mut codes = Vec::new();
    for at in 1..=8 {
        let name = format!("run{at}");
        let flags = ["--run-dir", &name, "--json"];
        let mut command = place.train("1", &flags);
        command.env("RAYON_NUM_THREADS", "3");
        let output = run(command, at);
        let stderr = text(&output.stderr);
        codes.push(output.status.code());
        match output.status.code() {
            Some(0) => assert!(stderr.contains("finished"), "{stderr}"),
            _ => {
                expect(&output, 1, &["error: ", "ulimit -u", "RAYON_NUM_THREADS"]);
                assert_eq!(stderr.lines().count(), 1, "{stderr}");
            }
        }
    }
    assert_eq!(codes, [[Some(1); 3].as_slice(), &[Some(0); 5]].concat());
    // What computes nothing needs no threads.
    assert!(run(place.command(&["summary"]), 1).status.success());
}
