//! Memory, open files and threads of long runs.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use pyr_wgpu::run::RunDirectory;

use crate::{Place, signal};

/// Resident memory in kB, open files and threads of a process.
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
