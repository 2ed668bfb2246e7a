//! Training under a launcher, such as `mpirun` or `srun`: processes (ranks) that train together.
//!
//! Rank 0 reads and writes the run directory and decides what is open; the others follow it.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::error::CliError;
use super::super::output::{self, print_message};
use super::super::signals::Signals;
use super::args::Args;
use super::plan::Plan;
use crate::data::Dataset;
use crate::ranks::Ranks;
use crate::run::{Config, DataRecord};
use crate::text::printable;
use crate::train::{Event, Session};

/// Seconds that a rank may take to answer, unless a flag says otherwise: measuring kernels and reading a
/// dataset take minutes.
#[cfg(feature = "mpi")]
const PATIENCE: u64 = 600;

/// The ranks of this run; `None` for a process of its own.
///
/// # Errors
/// If a launcher has started several processes and they cannot train together.
pub(super) fn launch(args: &Args) -> Result<Option<Ranks>, CliError> {
    let Some(count) = launched().filter(|count| *count > 1) else {
        return match args.several.rank_timeout {
            None => Ok(None),
            Some(_) => Err(CliError::Usage(
                "--rank-timeout is for several processes, which `mpirun` or `srun` starts; leave \
                 it out"
                    .to_owned(),
            )),
        };
    };
    if args.files.retry > 0 {
        return Err(CliError::Usage(format!(
            "--retry opens a lost adapter again, which {count} processes cannot do together; leave \
             it out, and start them again with --resume"
        )));
    }
    start(args, count).map(Some)
}

/// The number of processes that a launcher has started together with this one.
fn launched() -> Option<usize> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let is_slurm = || std::env::var_os("PMIX_RANK").is_some();
    let counts = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
    let slurm = || number("SLURM_STEP_NUM_TASKS").filter(|_| is_slurm());
    counts.into_iter().find_map(number).or_else(slurm)
}

#[cfg(feature = "mpi")]
fn start(args: &Args, count: usize) -> Result<Ranks, CliError> {
    use std::time::Duration;

    use crate::ranks::mpi::Mpi;

    let patience = Duration::from_secs(args.several.rank_timeout.unwrap_or(PATIENCE));
    let on_silence = move |rank| {
        print_message(&format!(
            "error: rank {rank} has not answered for {} s, so all {count} processes end; continue \
             from the last save with --resume",
            patience.as_secs()
        ));
        output::finish();
        1
    };
    let transport = Mpi::start(patience, on_silence);
    let transport = transport.map_err(|error| CliError::Failed(format!("MPI: {error}")))?;
    Ok(Ranks::new(transport))
}

#[cfg(not(feature = "mpi"))]
fn start(_: &Args, count: usize) -> Result<Ranks, CliError> {
    Err(CliError::Usage(format!(
        "a launcher has started {count} processes, and this program was built without MPI; build it \
         with `cargo install --path . --features mpi`"
    )))
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
    if let (0, Some(text)) = (ranks.rank(), CliError::from(failure).message()) {
        print_message(&format!("error: {text}"));
        output::finish();
    }
    // A launcher ends all processes as soon as one has failed.
    ranks.wait();
    Err(CliError::Reported(code))
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
    Ok(serde_json::from_slice(&bytes).expect("rank 0 has the same version"))
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
    let all = ranks.gather(&serde_json::to_vec(&own).expect("plain data"))?;
    let lists = all.iter().map(|bytes| {
        let list: Result<Vec<T>, _> = serde_json::from_slice(bytes);
        list.expect("all ranks have the same version")
    });
    Ok(lists.flatten().collect())
}

/// What must be the same on all ranks.
#[derive(Serialize, Deserialize)]
struct Same {
    version: String,
    config: Vec<String>,
    data: DataRecord,
    images: usize,
    classes: Vec<String>,
}

/// Compares the versions of the ranks, and what they are going to do.
///
/// # Errors
/// What differs from rank 0, and where.
pub(super) fn compare(
    ranks: &Ranks,
    config: &Config,
    dataset: &Dataset,
    data: DataRecord,
) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    // The version comes first, alone, since other versions may write the rest differently.
    let versions = ranks.gather(version.as_bytes())?;
    let versions = versions.iter().map(|text| String::from_utf8_lossy(text));
    for (rank, other) in versions.enumerate() {
        if other != version {
            return Err(CliError::Usage(format!(
                "rank {rank} is pyr-wgpu {}, rank {} is {version}; start the same on all machines",
                printable(&other),
                ranks.rank()
            )));
        }
    }
    // Directories may have other names on other machines; the images are compared.
    let config = Config {
        data: None,
        ..config.clone()
    };
    let own = Same {
        version: version.to_owned(),
        config: config
            .to_toml()
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect(),
        data,
        images: dataset.train.as_ref().map_or(0, |source| source.len()),
        classes: dataset.classes.clone(),
    };
    let all = ranks.gather(&serde_json::to_vec(&own).expect("plain data"))?;
    let all = all.iter().map(|bytes| serde_json::from_slice(bytes));
    let all: Result<Vec<Same>, _> = all.collect();
    let all =
        all.map_err(|error| CliError::Failed(format!("a rank sent no configuration: {error}")))?;
    let [first, others @ ..] = &all[..] else {
        return Ok(());
    };
    for (rank, other) in (1..).zip(others) {
        let lacks = |one: &Same, line: &&String| !one.config.contains(*line);
        let ours = first.config.iter().filter(|line| lacks(other, line));
        let theirs = other.config.iter().filter(|line| lacks(first, line));
        let [ours, theirs] = [ours.collect(), theirs.collect()].map(|lines: Vec<&String>| {
            let lines = lines.iter().map(|line| printable(line));
            lines.collect::<Vec<String>>().join(", ")
        });
        let or_nothing = |lines: &str| match lines {
            "" => "nothing of it".to_owned(),
            lines => lines.to_owned(),
        };
        if !ours.is_empty() || !theirs.is_empty() {
            return Err(CliError::Usage(format!(
                "rank 0 has {}, rank {rank} {}; start all processes with the same flags",
                or_nothing(&ours),
                or_nothing(&theirs)
            )));
        }
        let what = match other {
            _ if other.classes != first.classes => "other classes",
            _ if other.images != first.images => "another number of training images",
            _ if other.data != first.data => "other images, or the same in another order",
            _ => continue,
        };
        return Err(CliError::Data(format!(
            "the dataset of rank {rank} has {what} than that of rank 0; give all machines the same \
             files"
        )));
    }
    Ok(())
}

/// Drives the session of a rank that follows rank 0, which records and reports its events.
///
/// # Errors
/// See [`CliError`].
pub(super) fn follow(
    mut session: Session,
    plan: &Plan,
    signals: &Signals,
    ranks: &Ranks,
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
                    print_message(&format!("rank {}: note: {note}", ranks.rank()));
                    printed.push(note);
                }
            }
        }
    }
}
