//! Training under a launcher, such as `mpirun` or `srun`: processes (ranks) that train together.
//!
//! Rank 0 reads and writes the run directory and decides what is open; the others follow it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::device::DeviceArgs;
use super::super::error::CliError;
use super::super::output::{self, print_message};
use super::super::signals::Signals;
use super::args::Args;
use super::plan::{Plan, Start};
use crate::ranks::{Failure, Ranks};
use crate::rng::hash;
use crate::run::{Config, DataRecord};
use crate::text::printable;
use crate::train::{Event, Session};

/// The ranks of this run; `None` for a process of its own.
///
/// # Errors
/// If a launcher has started several processes and they cannot train together.
pub(super) fn launch(args: &Args) -> Result<Option<Ranks>, CliError> {
    let patience = args.several.rank_timeout;
    match (launched(), slurm_tasks()) {
        (Some(count @ 2..), _) => start(args, count).map(Some),
        (None, Some(count @ 2..)) => {
            let alone = format!(
                "srun has started {count} processes without MPI, so each trains on its own; to train \
                 together, start them with --mpi=pmix, or --mpi=pmi2 for MPICH{}",
                match cfg!(feature = "mpi") {
                    true => "",
                    false => ", and build the program with `--features mpi`",
                }
            );
            if patience.is_some() {
                return Err(CliError::Usage(format!("--rank-timeout: {alone}")));
            }
            args.device.say(&format!("note: {alone}"));
            Ok(None)
        }
        _ if patience.is_some() => Err(CliError::Usage(
            "--rank-timeout is for several processes, which `mpirun` or `srun` starts; leave it out"
                .to_owned(),
        )),
        _ => Ok(None),
    }
}

/// The number of processes that a launcher has started together with this one, to use MPI.
fn launched() -> Option<usize> {
    let has_pmix = || std::env::var_os("PMIX_RANK").is_some();
    let counts = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
    let slurm = || slurm_tasks().filter(|_| has_pmix());
    counts.into_iter().find_map(env_number).or_else(slurm)
}

/// The number of processes that Slurm has started together with this one.
fn slurm_tasks() -> Option<usize> {
    env_number("SLURM_STEP_NUM_TASKS")
}

fn env_number(variable: &str) -> Option<usize> {
    std::env::var(variable).ok()?.parse().ok()
}

#[cfg(feature = "mpi")]
fn start(args: &Args, count: usize) -> Result<Ranks, CliError> {
    use std::time::Duration;

    use super::devices::PATIENCE;
    use crate::ranks::Transport;
    use crate::ranks::mpi::Mpi;

    let seconds = args.several.rank_timeout.unwrap_or(PATIENCE);
    let on_silence = move |rank: usize, own: Option<&Failure>| {
        if let Some(failure) = own {
            print_error(failure.clone());
        }
        print_message(&format!(
            "error: rank {rank} has not answered for {seconds} s, so all {count} processes end; \
             continue from the last save with --resume"
        ));
        output::finish();
        own.map_or(1, |failure| failure.code)
    };
    let transport = Mpi::start(Duration::from_secs(seconds));
    let transport = transport.map_err(|error| CliError::Failed(format!("MPI: {error}")))?;
    match transport.count() {
        found if found == count => Ok(Ranks::new(transport, Box::new(on_silence))),
        found => Err(CliError::Failed(format!(
            "the launcher has started {count} processes, but MPI knows of {found}: it belongs to \
             another MPI than the one that this program was built with; use that one's"
        ))),
    }
}

#[cfg(not(feature = "mpi"))]
fn start(_: &Args, count: usize) -> Result<Ranks, CliError> {
    Err(CliError::Usage(format!(
        "a launcher has started {count} processes, and this program was built without MPI; build it \
         with `cargo install --path . --features mpi`"
    )))
}

/// Compares what must be the same on all ranks before they send each other anything else: the version,
/// and whether a run is resumed.
///
/// # Errors
/// If something differs, or a flag cannot be used.
pub(super) fn greet(ranks: &Ranks, args: &Args) -> Result<(), CliError> {
    if args.files.retry > 0 {
        return Err(CliError::Usage(format!(
            "--retry opens a lost adapter again, which {} processes cannot do together; leave it \
             out, and start them again with --resume",
            ranks.count()
        )));
    }
    let what = match args.files.resume.is_some() {
        true => "resumes a run",
        false => "starts a run",
    };
    let own = format!("pyr-wgpu {}, which {what}", env!("CARGO_PKG_VERSION"));
    let all = ranks.all_gather(own.as_bytes())?;
    let all = all.iter().map(|text| String::from_utf8_lossy(text));
    let mut all = all.map(|text| printable(&text)).enumerate();
    let Some((_, first)) = all.next() else {
        return Ok(());
    };
    match all.find(|(_, other)| *other != first) {
        None => Ok(()),
        Some((rank, other)) => Err(CliError::Usage(format!(
            "rank 0 is {first}, and rank {rank} is {other}; start the same on all machines"
        ))),
    }
}

/// Whether this process reads and writes the run directory.
pub(super) fn leads(ranks: Option<&Ranks>) -> bool {
    ranks.is_none_or(|ranks| ranks.rank() == 0)
}

/// The end of a run on several ranks, which all end with the same result. Rank 0 reports an error.
pub(super) fn end(ranks: &Ranks, result: Result<(), CliError>) -> Result<(), CliError> {
    let failure = match (ranks.failure(), result) {
        (Some(failure), _) => failure,
        (None, Err(error)) => ranks.fail(error.code(), error.message()),
        (None, Ok(())) => match ranks.agree(&[]) {
            Ok(_) => return Ok(()),
            Err(failure) => failure,
        },
    };
    let code = failure.code;
    if ranks.rank() == 0 {
        print_error(failure);
        output::finish();
    }
    // A launcher ends all processes as soon as one has failed.
    ranks.barrier();
    Err(CliError::Reported(code))
}

fn print_error(failure: Failure) {
    if let Some(text) = CliError::from(failure).message() {
        print_message(&format!("error: {text}"));
    }
}

/// What rank 0 makes, on all ranks.
///
/// # Errors
/// If it cannot be made, or another rank has failed.
pub(super) fn share<T: Serialize + DeserializeOwned>(
    ranks: Option<&Ranks>,
    make: impl FnOnce() -> Result<T, CliError>,
) -> Result<T, CliError> {
    let Some(ranks) = ranks else { return make() };
    if ranks.rank() == 0 {
        let made = make()?;
        ranks.broadcast(&serde_json::to_vec(&made).expect("plain data"))?;
        return Ok(made);
    }
    let bytes = ranks.broadcast(&[])?;
    Ok(serde_json::from_slice(&bytes).expect("all ranks have the same version"))
}

/// The lists of all ranks, one after another.
///
/// # Errors
/// If another rank has failed.
pub(super) fn gather<T: Serialize + DeserializeOwned>(
    ranks: Option<&Ranks>,
    own: Vec<T>,
) -> Result<Vec<T>, CliError> {
    let Some(ranks) = ranks else { return Ok(own) };
    let all = ranks.all_gather(&serde_json::to_vec(&own).expect("plain data"))?;
    let lists = all.iter().map(|bytes| {
        let list: Result<Vec<T>, _> = serde_json::from_slice(bytes);
        list.expect("all ranks have the same version")
    });
    Ok(lists.flatten().collect())
}

/// What must be the same on all ranks.
#[derive(Serialize, Deserialize)]
struct Same {
    /// Lines of the configuration, and flags whose values are left to the program.
    config: Vec<String>,
    data: DataRecord,
    images: usize,
    classes: Vec<String>,
    /// A hash of the weights of a checkpoint with which the run begins.
    weights: Option<u64>,
}

impl Same {
    fn of(args: &Args, plan: &Plan) -> Same {
        // Directories may have other names on other machines; what is in them is compared.
        let config = Config {
            data: None,
            from: None,
            ..plan.config.clone()
        };
        let weights = match &plan.start {
            Start::Weights(snapshot) => Some(&snapshot.weights),
            Start::Random | Start::Saved(..) => None,
        };
        let bytes = |(name, values): (&String, &Vec<f32>)| {
            let values = values.iter().flat_map(|value| value.to_le_bytes());
            name.bytes().chain(values).collect::<Vec<u8>>()
        };
        let text = config.to_toml();
        let lines = text.lines().skip(1).map(str::to_owned);
        let open = args.automatic().into_iter();
        let open = open.map(|name| format!("--{name} auto"));
        Same {
            config: lines.chain(open).collect(),
            data: plan.data,
            images: plan.dataset.train.as_ref().map_or(0, |source| source.len()),
            classes: plan.dataset.classes.clone(),
            weights: weights.map(|tensors| hash(tensors.iter().flat_map(bytes))),
        }
    }

    /// The lines of the configuration that another rank lacks.
    fn lines_without(&self, other: &Same) -> Option<String> {
        let own = self
            .config
            .iter()
            .filter(|line| !other.config.contains(line));
        let own: Vec<String> = own.map(|line| printable(line)).collect();
        (!own.is_empty()).then(|| own.join(", "))
    }

    /// Compares the given rank with rank 0, which is `self`.
    fn check(&self, rank: usize, other: &Same) -> Result<(), CliError> {
        if self.config != other.config {
            let difference = match (self.lines_without(other), other.lines_without(self)) {
                (Some(first), Some(second)) => format!("rank 0 has {first}, rank {rank} {second}"),
                (Some(first), None) => format!("rank 0 has {first}, which rank {rank} lacks"),
                (None, second) => {
                    let second = second.unwrap_or_default();
                    format!("rank {rank} has {second}, which rank 0 lacks")
                }
            };
            return Err(CliError::Usage(format!(
                "{difference}; start all processes with the same flags"
            )));
        }
        let what = match other {
            _ if other.classes != self.classes => "other classes",
            _ if other.images != self.images => "another number of training images",
            _ if other.data != self.data => "other images, or the same in another order",
            _ if other.weights != self.weights => {
                return Err(CliError::Checkpoint(format!(
                    "the checkpoint of --from has other weights on rank {rank} than on rank 0; give \
                     all machines the same file"
                )));
            }
            _ => return Ok(()),
        };
        Err(CliError::Data(format!(
            "the dataset of rank {rank} has {what} than that of rank 0; give all machines the same \
             files"
        )))
    }
}

/// Compares what the ranks are going to do.
///
/// # Errors
/// What differs from rank 0, and where.
pub(super) fn compare(ranks: Option<&Ranks>, args: &Args, plan: &Plan) -> Result<(), CliError> {
    if ranks.is_none() {
        return Ok(());
    }
    let all = gather(ranks, vec![Same::of(args, plan)])?;
    let mut others = (1..).zip(&all[1..]);
    others.try_for_each(|(rank, other)| all[0].check(rank, other))
}

/// Drives the session of a rank that follows rank 0, which records and reports its events.
///
/// # Errors
/// See [`CliError`].
pub(super) fn follow(
    mut session: Session,
    plan: &Plan,
    signals: &Signals,
    log: &DeviceArgs,
) -> Result<(), CliError> {
    let mut printed = Vec::new();
    let mut stopped = false;
    loop {
        let signal = signals.asked();
        if signal.is_some() {
            session.stop();
        }
        let event = match pollster::block_on(session.next(&mut ()))? {
            Some(event) => event,
            None => {
                return signal
                    .filter(|_| stopped)
                    .map_or(Ok(()), |code| Err(CliError::Stopped(code)));
            }
        };
        stopped = matches!(event, Event::Stopped { .. });
        // Rank 0 knows only of the images that it has read itself.
        if stopped || matches!(event, Event::Epoch(_)) {
            for note in plan.dataset.reading_notes() {
                if !printed.contains(&note) {
                    log.say(&format!("note: {note}"));
                    printed.push(note);
                }
            }
        }
    }
}
