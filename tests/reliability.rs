//! What a run survives: kills, full disks, signals, lost readers of its output, a second process,
//! and data that has changed. The binary runs as users run it, on the CPU.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};
use pyr_wgpu::checkpoint::Checkpoint;
use pyr_wgpu::rng::{Purpose, Stream};
use pyr_wgpu::run::RunDirectory;

const SIGKILL: i32 = 9;

/// A directory with a dataset of three classes, 24 training and 6 test images each.
struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place {
            root: tempfile::tempdir().unwrap(),
        };
        for (part, count) in [("train", 24u32), ("test", 6)] {
            for class in 0..3u32 {
                let folder = place.path(&format!("data/{part}/c{class}"));
                fs::create_dir_all(&folder).unwrap();
                for number in 0..count {
                    let image = RgbImage::from_fn(8, 8, |x, y| {
                        let noise = (x * 31 + y * 17 + number * 13) * 7 % 90;
                        let mut pixel = [noise as u8; 3];
                        pixel[class as usize] += 120;
                        Rgb(pixel)
                    });
                    image.save(folder.join(format!("{number:02}.png"))).unwrap();
                }
            }
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyr-wgpu"));
        command
            .args(arguments)
            .current_dir(self.root.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A command that starts a new run in `run`.
    fn train(&self, epochs: &str, more: &[&str]) -> Command {
        let flags = "train --depth 8 --alpha 3 --image-size 8 --dataset folder --data data \
                     --batch-size 8 --device cpu --epochs";
        let flags: Vec<&str> = flags.split_whitespace().collect();
        self.command(&[&flags[..], &[epochs], more].concat())
    }

    /// The whole state of a run, for comparison.
    fn state(&self, run: &str) -> Checkpoint {
        Checkpoint::load(&self.path(run).join("state.safetensors")).unwrap()
    }

    /// Checks that a run has done its epochs with these results, each recorded once, and that its
    /// files agree with each other.
    fn check(&self, run: &str, reference: &Checkpoint, epochs: u32, what: &str) {
        let state = self.state(run);
        assert!(state == *reference, "{what}: the state differs");
        let numbers = |text: String| -> Vec<String> {
            let rows = text.lines().skip(1).map(|line| {
                let number = line.split(',').next();
                number.unwrap().to_owned()
            });
            rows.collect()
        };
        let expected: Vec<String> = (1..=epochs).map(|n| n.to_string()).collect();
        let table = fs::read_to_string(self.path(run).join("metrics.csv")).unwrap();
        assert_eq!(numbers(table), expected, "{what}: rows of metrics.csv");
        let directory = RunDirectory::open(&self.path(run)).unwrap();
        let history = directory.history().unwrap();
        let recorded: Vec<u32> = history.epochs().map(|row| row.epoch).collect();
        let expected: Vec<u32> = (1..=epochs).collect();
        assert_eq!(recorded, expected, "{what}: epochs of events.jsonl");
        let last = Checkpoint::load(&self.path(run).join("last.safetensors")).unwrap();
        for (name, tensor) in &last.tensors {
            assert!(state.tensors[name] == *tensor, "{what}: {name} of last");
        }
        assert!(self.path(run).join("best.safetensors").is_file(), "{what}");
        let leftovers = fs::read_dir(self.path(run)).unwrap();
        let leftovers = leftovers.map(|entry| entry.unwrap().file_name());
        for name in leftovers {
            let name = name.into_string().unwrap();
            assert!(!name.ends_with(".tmp"), "{what}: {name} is left");
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks the exit code and words of the error.
fn expect(output: &Output, code: i32, words: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "lacks `{word}`: {stderr}");
    }
}

/// Sends a signal by name.
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Starts a run that prints events, and returns once one has been printed in which `word` occurs.
fn started(command: &mut Command, word: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = command
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut events = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        let read = events.read_line(&mut line).unwrap();
        assert!(read > 0, "the run ended before `{word}`");
    }
    (child, events)
}

/// Waits for the end of a run; returns its exit code and stderr.
fn ended(mut child: Child) -> (Option<i32>, String) {
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).unwrap();
    (child.wait().unwrap().code(), stderr)
}

/// The faults of `tests/faults/interpose.rs`.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
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
#[cfg(all(target_os = "linux", target_env = "gnu"))]
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
#[cfg(all(target_os = "linux", target_env = "gnu"))]
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
#[cfg(all(target_os = "linux", target_env = "gnu"))]
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

/// Kills a run in the middle of its first epoch; returns the step of its state.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn stopped_midway(place: &Place, run: &str) -> u64 {
    // After the files of the beginning and some of the saves.
    killed_at(place, run, 70);
    let state = place.state(run);
    let progress: serde_json::Value =
        serde_json::from_str(&state.metadata["pyr_wgpu_progress"]).unwrap();
    let position = &progress["position"];
    let step = position["step"].as_u64().unwrap();
    assert!(position["epoch"] == 1 && step > 0, "{progress}");
    step
}

/// Kills a run of two epochs that saves after every step, at a call that writes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn killed_at(place: &Place, run: &str, call: u32) {
    let flags = ["--run-dir", run, "--checkpoint-every", "1", "--quiet"];
    let mut command = place.train("2", &flags);
    command
        .env("LD_PRELOAD", interposer(place))
        .env("FAULT", "kill")
        .env("FAULT_AT", call.to_string());
    assert_eq!(command.status().unwrap().signal(), Some(SIGKILL));
}

/// The numbers in a state mean nothing with other classes or images.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn resuming_compares_the_data() {
    let place = Place::new();
    stopped_midway(&place, "run");
    let resume = |more: &[&str]| place.run(&[&["train", "--resume", "run"], more].concat());
    let rename = |from: &str, to: &str| {
        for part in ["train", "test"] {
            let folder = place.path("data").join(part);
            fs::rename(folder.join(from), folder.join(to)).unwrap();
        }
    };
    rename("c0", "z0");
    for allow in [&[][..], &["--allow", "data"]] {
        expect(
            &resume(allow),
            5,
            &["class 0 is `c0`", "`c1` in the dataset"],
        );
    }
    rename("z0", "c0");

    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    let image = place.path("data/train/c0/00.png");
    let bytes = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    expect(
        &resume(&[]),
        4,
        &["71 training images instead of 72", "--allow data"],
    );
    // Another picture in its place.
    RgbImage::from_pixel(8, 8, Rgb([255; 3]))
        .save(&image)
        .unwrap();
    expect(
        &resume(&[]),
        4,
        &["training images have other pixels", "--allow data"],
    );
    fs::write(&image, &bytes).unwrap();
    // The same names, counts and mean, but two classes are exchanged.
    for (from, to) in [("c0", "t"), ("c1", "c0"), ("t", "c1")] {
        rename(from, to);
    }
    expect(
        &resume(&[]),
        4,
        &[
            "training images have other pixels, labels or another order",
            "test images have",
        ],
    );
    for (from, to) in [("c0", "t"), ("c1", "c0"), ("t", "c1")] {
        rename(from, to);
    }
    let test = place.path("data/test/c1/03.png");
    let tested = fs::read(&test).unwrap();
    fs::remove_file(&test).unwrap();
    expect(&resume(&[]), 4, &["17 test images instead of 18"]);
    fs::write(&test, tested).unwrap();

    // A run resumes from any directory; a moved dataset is found by its new name.
    fs::rename(place.path("data"), place.path("moved")).unwrap();
    expect(&resume(&[]), 4, &["data", "--data DIR --allow data"]);
    expect(&resume(&["--data", "moved"]), 2, &["--data", "--allow"]);
    let after = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert_eq!(after, config, "a refused change is not recorded");
    fs::create_dir(place.path("elsewhere")).unwrap();
    let mut elsewhere = place.command(&["train", "--resume", "../run"]);
    fs::rename(place.path("moved"), place.path("data")).unwrap();
    let output = elsewhere.current_dir(place.path("elsewhere")).output();
    expect(&output.unwrap(), 0, &["finished"]);
}

/// A step is a number of images of an order; if the order changes, the epoch starts again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn another_order_restarts_the_epoch() {
    let changes: [(&[&str], &str); 3] = [
        (
            &["--allow", "batch-size", "--batch-size", "20"],
            "batch-size",
        ),
        (&["--allow", "seed", "--seed", "9"], "seed"),
        (&["--allow", "data"], "data"),
    ];
    for (flags, what) in changes {
        let place = Place::new();
        stopped_midway(&place, "run");
        if what == "data" {
            for number in 0..20 {
                let image = format!("data/train/c1/{number:02}.png");
                fs::remove_file(place.path(&image)).unwrap();
            }
        }
        let output = place.run(&[&["train", "--resume", "run"], flags].concat());
        expect(
            &output,
            0,
            &["epoch 1 starts from its first step", "finished"],
        );
    }
    // Without a change it continues where it was.
    let place = Place::new();
    let step = stopped_midway(&place, "run");
    let output = place.run(&["train", "--resume", "run"]);
    expect(&output, 0, &[&format!("epoch 1, step {step}"), "finished"]);
}

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

/// Where no thread can be started, there is one error that says what to raise, or fewer threads
/// do; nothing panics.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
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

/// One process at a time writes into a directory, and no two new runs share one.
/// Resident memory in kB, open files and threads of a process.
#[cfg(target_os = "linux")]
fn usage(process: &Child) -> [usize; 3] {
    let proc = PathBuf::from(format!("/proc/{}", process.id()));
    let status = fs::read_to_string(proc.join("status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.unwrap().parse().unwrap()
    };
    let files = fs::read_dir(proc.join("fd")).unwrap().count();
    [field("VmRSS:"), files, field("Threads:")]
}

/// For `PYR_WGPU_TEST_MINUTES` on the adapter `PYR_WGPU_TEST_DEVICE`, by default seconds on the
/// CPU; saves at every epoch and every second step.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat() {
    let minutes = std::env::var("PYR_WGPU_TEST_MINUTES");
    let minutes: f64 = minutes.map_or(0.2, |minutes| minutes.parse().expect("minutes"));
    let device = std::env::var("PYR_WGPU_TEST_DEVICE").unwrap_or("cpu".to_owned());
    let place = Place::new();
    let flags = "train --depth 8 --alpha 3 --image-size 8 --dataset folder --data data \
                 --batch-size 8 --epochs 1000000000 --checkpoint-every 2 --run-dir long --device";
    let flags: Vec<&str> = flags.split_whitespace().chain([&*device]).collect();
    let mut run = place.command(&flags);
    let mut run = run
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let time = Duration::from_secs_f64(60.0 * minutes);
    // The first quarter warms up.
    std::thread::sleep(time / 4);
    let first = usage(&run);
    let start = Instant::now();
    let mut largest = first;
    while start.elapsed() < time * 3 / 4 {
        std::thread::sleep(time / 100);
        assert_eq!(run.try_wait().unwrap(), None, "the run has ended");
        let now = usage(&run);
        largest = [0, 1, 2].map(|at| largest[at].max(now[at]));
    }
    let last = usage(&run);
    signal(&run, "TERM");
    assert_eq!(run.wait().unwrap().code(), Some(143));
    let history = RunDirectory::open(&place.path("long"))
        .unwrap()
        .history()
        .unwrap();
    let epochs = history.epochs().count();
    println!(
        "{epochs} epochs; kB, files, threads: first {first:?}, last {last:?}, most {largest:?}"
    );
    assert!(epochs > 5, "only {epochs} epochs");
    // Allocators keep some freed memory; a file may be open for a save.
    assert!(last[0] <= first[0] + first[0] / 20 + 1024, "memory grows");
    assert!(largest[1] <= first[1] + 3, "files stay open");
    assert_eq!(largest[2], first[2], "threads stay");
}

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

/// The best weights are not in the state of a later epoch, so their damage is noticed at once.
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

/// A limit of the system is an error that names the file and the limit, whatever meets it first.
#[test]
fn limits_of_the_system_are_named() {
    let place = Place::new();
    let limited = |limit: &str, command: &Command| {
        Command::new("sh")
            .args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(place.root.path())
            .output()
            .unwrap()
    };
    let begin = place.train("1", &["--run-dir", "run", "--quiet"]);
    expect(&limited("-f 0", &begin), 1, &["run/lock", "ulimit -f"]);
    assert!({ begin }.status().unwrap().success());
    let resume = place.command(&["train", "--resume", "run"]);
    expect(&limited("-n 4", &resume), 1, &["run", "ulimit -n"]);
}

/// A stdout that was closed before the start loses no result silently.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_stdout_is_noticed() {
    let place = Place::new();
    for arguments in ["summary", "devices", "--help", "summary --json"] {
        let output = Command::new("sh")
            .args(["-c", &format!("exec \"$0\" {arguments} >&-")])
            .arg(env!("CARGO_BIN_EXE_pyr-wgpu"))
            .current_dir(place.root.path())
            .output();
        expect(&output.unwrap(), 1, &["stdout cannot be written", "closed"]);
    }
}
