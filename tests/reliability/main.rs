//! What a run survives: kills, full disks, signals, lost readers of its output, a second process,
//! and data that has changed. The binary runs as users run it, on the CPU.

#![cfg(unix)]

mod changed_data;
mod damage;
mod faults;
mod foreign_records;
mod imagenet;
mod limits;
mod memory;
#[cfg(feature = "mpi")]
mod ranks;
mod resuming;
mod sharing;
mod signals;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use image::{Rgb, RgbImage};
use pyr_wgpu::checkpoint::Checkpoint;
use pyr_wgpu::run::RunDirectory;

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
