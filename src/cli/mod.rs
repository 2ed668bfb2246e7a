//! The command line: arguments in, files and text out; one file per subcommand.
//!
//! Results go to stdout, progress and warnings to stderr (`output`, on threads of
//! `background_writer`).
//! Arguments are checked first, then files, then adapters.

mod augment;
mod background_writer;
mod bench;
mod cache;
mod card;
mod convert;
mod data;
mod dataset;
mod device;
mod devices;
mod doctor;
mod error;
mod eval;
mod figures;
mod files;
mod fitting;
mod network;
mod output;
mod predict;
mod progress;
mod report;
mod selftest;
mod signals;
mod stdout;
mod step;
mod summary;
mod train;
mod training;
mod tuning;
mod verify;
mod views;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::text::printable_path;
use error::{CliError, USAGE};
use output::{print_json, print_line, print_message};

/// Trains and runs PyramidNet image classifiers on any GPU.
#[derive(Parser)]
#[command(name = "pyr-wgpu", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a network; without arguments, the demo network on drawn shapes
    Train(Box<train::Args>),
    /// Measure a checkpoint's error on a dataset's test images
    Eval(eval::Args),
    /// Classify images
    Predict(predict::Args),
    /// Draw runs beside the paper's results
    Report(report::Args),
    /// Write a model card in Hugging Face's form
    Card(card::Args),
    /// Write a checkpoint in another format
    Convert(convert::Args),
    /// Check a dataset, measure it, or show its augmented images
    #[command(subcommand)]
    Data(data::Action),
    /// Show a network's layers, size and memory
    Summary(summary::Args),
    /// Compare with arrays recorded from another program
    Verify(verify::Args),
    /// List this machine's adapters
    Devices(devices::Args),
    /// Show what this system lacks to use its GPU, and the commands that bring it
    Doctor(doctor::Args),
    /// Compare every kernel that an adapter can run with a plain reference, for bug reports
    Selftest(selftest::Args),
    /// Measure speed, and compare it with the adapter's measured limits
    Bench(bench::Args),
}

/// Parses a number that must be positive, such as a batch size.
fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses a number of threads.
fn workers(text: &str) -> Result<usize, String> {
    match positive(text)? {
        number @ ..=MAX_WORKERS => Ok(number),
        _ => Err(format!("it must be at most {MAX_WORKERS}")),
    }
}

/// The default number of threads that decode images: one for each processor.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// More threads that decode images than any machine has processors.
const MAX_WORKERS: usize = 1024;

/// Parses the command line, runs the command, and prints an error on stderr.
pub fn main() -> ExitCode {
    signals::survive_file_limit();
    let code = match Cli::try_parse() {
        Ok(cli) => end(run(cli.command)),
        Err(answer) if !answer.use_stderr() => {
            let printed = stdout::check().and_then(|()| answer.print());
            end(printed.map_err(output::unwritten))
        }
        Err(error) => refuse(error),
    };
    output::finish();
    ExitCode::from(code)
}

fn run(command: Command) -> Result<(), CliError> {
    if !matches!(command, Command::Summary(_)) {
        start_threads()?;
    }
    match command {
        Command::Train(args) => train::run(*args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Report(args) => report::run(args),
        Command::Card(args) => card::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Data(action) => data::run(action),
        Command::Summary(args) => summary::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Selftest(args) => selftest::run(args),
        Command::Bench(args) => bench::run(args),
    }
}

/// Starts the threads that compute and decode. At their first use, a failure would be a panic.
fn start_threads() -> Result<(), CliError> {
    let started = rayon::ThreadPoolBuilder::new().build_global();
    started.map_err(|error| {
        CliError::Failed(format!(
            "the compute threads cannot be started: {error}; raise the limit of processes \
             (`ulimit -u`, or pids.max of the cgroup), or set RAYON_NUM_THREADS to a smaller number"
        ))
    })
}

/// Prints the error of a command, if any, and returns its exit code.
fn end(result: Result<(), CliError>) -> u8 {
    let Err(error) = result else { return 0 };
    if let Some(text) = error.message() {
        print_message(&format!("error: {text}"));
    }
    error.code()
}

/// Prints what is wrong with the arguments, and returns the exit code.
fn refuse(error: clap::Error) -> u8 {
    // The parser quotes arguments as they are, so it is asked again with printable ones.
    let arguments = std::env::args_os().map(|argument| printable_path(Path::new(&argument)));
    let error = Cli::try_parse_from(arguments).err().unwrap_or(error);
    print_message(error.render().to_string().trim_end());
    USAGE
}
