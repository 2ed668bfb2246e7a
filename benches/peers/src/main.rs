//! `cargo bench-peers`: compares our speed with that of other programs, in alternation.
//!
//! A machine's speed changes from minute to minute, so figures from different hours are not
//! comparable. Each row therefore builds the same network in our program and in a peer, keeps
//! the peer ready, and measures both for a few seconds in alternation; each ratio is of two
//! adjacent measurements. Only the program that is measured runs: the peers are stopped
//! meanwhile. burn runs on the same Vulkan adapter as our shaders, PyTorch and ONNX Runtime on
//! the CPU like our `--device cpu`. The peers are the small programs in `benches/peers/burn`
//! and `benches/peers/torch`; the comparison in a browser is `benches/peers/web`.

mod builds;
mod options;
mod process;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use builds::{Launcher, Ours};
use options::{Options, Peer, Platform, Row};
use process::Process;
use table::Comparison;

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the comparison; fails if a build fails or a cell of the table has no figures.
fn run(options: Options) -> Result<()> {
    let platforms = options.platforms()?;
    builds::set_up()?;
    let ours = Ours::build()?;
    let mut launchers = Vec::new();
    for platform in platforms {
        launchers.push(match platform {
            Platform::Burn => Launcher::burn(ours.find_adapter(&options.device)?)?,
            Platform::Python => Launcher::python()?,
        });
    }
    println!("{}", table::header(options.rounds, options.seconds));
    let mut bench = Bench {
        options: &options,
        ours,
        failed: Vec::new(),
        versions: Vec::new(),
    };
    for row in &options.rows {
        for launcher in &launchers {
            bench.compare(row, launcher);
        }
    }
    bench.conclude()
}

/// The comparison in progress.
struct Bench<'a> {
    options: &'a Options,
    ours: Ours,
    /// Row and peer of each cell without figures.
    failed: Vec<String>,
    /// The versions and devices that the programs report, each once.
    versions: Vec<String>,
}

/// A running peer of a row.
struct Rival<'a> {
    peer: &'a Peer,
    process: Process,
    /// Images per second, ours and theirs, for each round.
    rounds: Vec<[f64; 2]>,
}

impl<'a> Bench<'a> {
    /// Compares the peers of one platform on one row, and prints a line for each.
    fn compare(&mut self, row: &Row, launcher: &Launcher) {
        let mut rivals = Vec::new();
        let peers = self.options.peers.iter();
        for peer in peers.filter(|peer| peer.platform == launcher.platform) {
            let Some(arguments) = peer.arguments(row) else {
                eprintln!("{}: {} does not have this workload", row.name, peer.name);
                continue;
            };
            eprintln!("{}: {} warms up", row.name, peer.name);
            match launcher.start(peer.name, &arguments) {
                Ok((process, version)) => {
                    self.note(version);
                    rivals.push(Rival {
                        peer,
                        process,
                        rounds: Vec::new(),
                    });
                }
                Err(error) => self.fail(row, peer, &format!("{error:#}")),
            }
        }
        for round in 1..=self.options.rounds {
            if rivals.is_empty() {
                return;
            }
            eprintln!("{}: round {round} of {}", row.name, self.options.rounds);
            rivals = self.round(row, &launcher.device, rivals);
        }
        for rival in rivals {
            let comparison = Comparison::of(&rival.rounds);
            println!("{}", table::line(row.name, rival.peer.name, &comparison));
        }
    }

    /// Measures ours, then each peer; returns the peers that have not failed.
    fn round(&mut self, row: &Row, device: &str, rivals: Vec<Rival<'a>>) -> Vec<Rival<'a>> {
        let seconds = self.options.seconds;
        let ours = match self.ours.measure(row, device, seconds) {
            Ok((ours, version)) => {
                self.note(version);
                ours
            }
            Err(error) => {
                for rival in rivals {
                    self.fail(row, rival.peer, &format!("ours: {error:#}"));
                }
                return Vec::new();
            }
        };
        let mut measured = Vec::new();
        for mut rival in rivals {
            match rival.process.measure(seconds) {
                Ok(theirs) => {
                    rival.rounds.push([ours, theirs]);
                    measured.push(rival);
                }
                Err(error) => self.fail(row, rival.peer, &format!("{error:#}")),
            }
        }
        measured
    }

    fn note(&mut self, version: String) {
        if !self.versions.contains(&version) {
            self.versions.push(version);
        }
    }

    fn fail(&mut self, row: &Row, peer: &Peer, reason: &str) {
        println!("{}", table::failure(row.name, peer.name, reason));
        self.failed.push(format!("{} {}", row.name, peer.name));
    }

    /// Prints what was compared; fails unless all cells have figures.
    fn conclude(self) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!(
            "\n{} {}, {cores} cores",
            std::env::consts::OS,
            std::env::consts::ARCH
        );
        for version in &self.versions {
            println!("{version}");
        }
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}
