//! `cargo xtask bench-peers`: our speed beside that of other programs, measured by turns.
//!
//! The speed of a machine changes from minute to minute, and two figures from different
//! hours say little about two programs. So each row builds the same network in the program
//! compared and keeps it ready, and then ours and theirs run a few seconds each by turns; a
//! ratio is that of two neighbours in time. burn runs on the same Vulkan adapter as our
//! shaders, PyTorch on the processor as our `--device cpu`.
//! The programs compared are the small ones in `benches/peers`.

mod bring;
mod options;
mod process;
mod table;

use crate::command::{Failure, interrupted};
use crate::facts::string_values;
use crate::plan::Goal;
use crate::{demo, setup};
use bring::{Builds, Ours};
pub(crate) use options::HELP;
use options::{Options, Peer, Row, Runtime};
use process::{Process, Ready};
use table::Comparison;

/// Runs the comparison with these arguments.
///
/// # Errors
/// If the arguments mean nothing, something that is needed cannot be brought, or any cell of
/// the table failed; the others are printed all the same.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let options = Options::parse(arguments)?;
    let runs = |runtime| options.peers.iter().any(|peer| peer.runtime == runtime);
    setup::run(match runs(Runtime::Torch) {
        true => Goal::Torch,
        false => Goal::Demo,
    })?;
    let mut builds = Builds::ours()?;
    let mut adapter = None;
    if runs(Runtime::Burn) {
        let found = find_adapter(&options.device)?;
        builds.build_burn(found.software)?;
        adapter = Some(found);
    }
    if runs(Runtime::Torch) {
        builds.install_torch()?;
    }
    let mut bench = Bench {
        options,
        builds,
        adapter,
        failed: Vec::new(),
        versions: Vec::new(),
    };
    let header = table::header(bench.options.rounds, bench.options.seconds);
    println!("{header}");
    for row in bench.options.rows.clone() {
        for runtime in [Runtime::Burn, Runtime::Torch] {
            bench.compare(row, runtime)?;
        }
    }
    bench.conclude()
}

/// An adapter as `pyr-wgpu devices` lists it.
struct Adapter {
    name: String,
    software: bool,
}

/// The adapter that `--device` means.
fn find_adapter(device: &str) -> Result<Adapter, Failure> {
    if let Some(adapter) = choose_adapter(&demo::adapters()?, device) {
        return Ok(adapter);
    }
    if device == options::DEVICE {
        setup::bring_software_adapter()?;
    }
    let adapters = demo::adapters()?;
    choose_adapter(&adapters, device).ok_or_else(|| Failure {
        message: format!(
            "no adapter is called `{device}`; found: {}",
            string_values(&adapters, "name").join("; ")
        ),
        code: demo::NO_ADAPTER,
    })
}

fn choose_adapter(adapters: &str, device: &str) -> Option<Adapter> {
    let names = string_values(adapters, "name");
    let kinds = string_values(adapters, "type");
    let wanted = device.to_lowercase();
    let mut found = names.into_iter().zip(kinds);
    found
        .find(|(name, _)| name.to_lowercase().contains(&wanted))
        .map(|(name, kind)| Adapter {
            name,
            software: kind == "cpu",
        })
}

/// The run as it goes on.
struct Bench {
    options: Options,
    builds: Builds,
    adapter: Option<Adapter>,
    /// Row and peer of each cell without a figure.
    failed: Vec<String>,
    /// What the programs say they are, each once.
    versions: Vec<String>,
}

/// A peer within a row.
struct Rival {
    peer: &'static Peer,
    process: Process,
    /// Images per second of ours and of theirs, round by round.
    rounds: Vec<[f64; 2]>,
}

impl Bench {
    /// Compares the peers of one runtime on one row, and prints a line for each.
    fn compare(&mut self, row: &'static Row, runtime: Runtime) -> Result<(), Failure> {
        let chosen = self.options.peers.iter().copied();
        let peers: Vec<&Peer> = chosen.filter(|peer| peer.runtime == runtime).collect();
        let mut rivals = Vec::new();
        for peer in peers {
            eprintln!("{}: {} warms up", row.name, peer.name);
            let started = self.start(row, peer);
            if interrupted() {
                return Err(Failure::interrupted());
            }
            match started {
                Ok(process) => rivals.push(Rival {
                    peer,
                    process,
                    rounds: Vec::new(),
                }),
                Err(reason) => self.fail(row, peer, &reason),
            }
        }
        for round in 1..=self.options.rounds {
            if rivals.is_empty() {
                return Ok(());
            }
            eprintln!("{}: round {round} of {}", row.name, self.options.rounds);
            self.round(row, runtime, &mut rivals)?;
        }
        for rival in rivals {
            rival.process.end();
            let comparison = Comparison::of(&rival.rounds);
            println!("{}", table::line(row.name, rival.peer.name, &comparison));
        }
        Ok(())
    }

    /// Ours, then each of theirs; who fails leaves the row.
    fn round(
        &mut self,
        row: &'static Row,
        runtime: Runtime,
        rivals: &mut Vec<Rival>,
    ) -> Result<(), Failure> {
        let seconds = self.options.seconds;
        let device = match runtime {
            Runtime::Burn => self.options.device.as_str(),
            Runtime::Torch => "cpu",
        };
        let measured = self.builds.measure_ours(row, device, seconds);
        if interrupted() {
            return Err(Failure::interrupted());
        }
        let ours = match measured {
            Ok(Ours { speed, device }) => {
                self.note(format!(
                    "ours: pyr-wgpu {} on {device}",
                    self.builds.version
                ));
                speed
            }
            Err(reason) => {
                for rival in rivals.drain(..) {
                    self.fail(row, rival.peer, &format!("ours: {reason}"));
                }
                return Ok(());
            }
        };
        for mut rival in std::mem::take(rivals) {
            let theirs = rival.process.measure(seconds);
            if interrupted() {
                return Err(Failure::interrupted());
            }
            match theirs {
                Ok(theirs) => {
                    rival.rounds.push([ours, theirs]);
                    rivals.push(rival);
                }
                Err(reason) => self.fail(row, rival.peer, &reason),
            }
        }
        Ok(())
    }

    /// Starts a peer and waits until it is ready.
    fn start(&mut self, row: &Row, peer: &Peer) -> Result<Process, String> {
        let mut command = self.builds.command(peer);
        if self
            .adapter
            .as_ref()
            .is_some_and(|adapter| adapter.software)
        {
            // Left alone, burn takes a GPU where there is one.
            command.env("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu");
        }
        command.args(row.words());
        let (process, ready) = Process::start(command, &self.builds.log(peer))?;
        let Ready { version, device } = ready;
        if let (Runtime::Burn, Some(adapter)) = (peer.runtime, &self.adapter)
            && device != adapter.name
        {
            return Err(format!(
                "it took the adapter {device}, ours is {}: not compared",
                adapter.name
            ));
        }
        self.note(format!("{}: {version} on {device}", peer.name));
        Ok(process)
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

    /// Prints what was compared, and tells whether all cells have figures.
    fn conclude(self) -> Result<(), Failure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        println!(
            "\n{} {}, {cores} cores",
            std::env::consts::OS,
            std::env::consts::ARCH
        );
        for version in &self.versions {
            println!("{version}");
        }
        match self.failed.as_slice() {
            [] => Ok(()),
            failed => Err(Failure::new(format!("failed: {}", failed.join(", ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::options::PEERS;
    use super::*;

    #[test]
    fn the_adapter_is_found_by_a_part_of_its_name() {
        let json = r#"[{"index":0,"name":"Radeon","type":"discrete-gpu"},
                       {"index":1,"name":"llvmpipe (LLVM 15, 256 bits)","type":"cpu"}]"#;
        let adapter = choose_adapter(json, "LLVMpipe").unwrap();
        assert_eq!(adapter.name, "llvmpipe (LLVM 15, 256 bits)");
        assert!(adapter.software);
        assert!(!choose_adapter(json, "radeon").unwrap().software);
        assert!(choose_adapter(json, "geforce").is_none());
    }

    #[test]
    fn every_peer_has_a_runtime_in_the_order_of_the_table() {
        let runtimes = PEERS.each_ref().map(|peer| peer.runtime);
        assert_eq!(runtimes, [Runtime::Burn, Runtime::Torch, Runtime::Torch]);
    }
}
