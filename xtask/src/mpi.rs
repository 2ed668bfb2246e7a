//! `cargo xtask mpi`: the program for several machines, and its tests.

use crate::command::{Failure, cargo, interrupted, run as run_command};
use crate::plan::Goal;
use crate::setup;
use crate::test::Outcome;

/// Installs what the feature `mpi` needs, and builds the program with it.
///
/// # Errors
/// If the set-up or the build fails.
pub(crate) fn run() -> Result<(), Failure> {
    setup::run(Goal::Mpi)?;
    let build = ["build", "--release", "--features", "mpi"];
    println!("$ cargo {}", build.join(" "));
    match run_command(&mut cargo(&build))? {
        0 => {
            println!("Start it with: mpirun -n 2 target/release/pyr-wgpu train");
            Ok(())
        }
        code => Err(Failure {
            message: "the build failed".to_owned(),
            code,
        }),
    }
}

/// Runs the tests of several processes on this machine, where an MPI can be installed.
///
/// # Errors
/// If cargo cannot be started, or Ctrl-C interrupted the set-up.
pub(crate) fn test() -> Result<Outcome, Failure> {
    match setup::run(Goal::Mpi) {
        Err(failure) if interrupted() => return Err(failure),
        Err(failure) => return Ok(Outcome::Skipped(failure.message)),
        Ok(()) => {}
    }
    let clippy = [
        "clippy",
        "--features",
        "mpi",
        "--tests",
        "--",
        "-D",
        "warnings",
    ];
    println!("$ cargo {}", clippy.join(" "));
    match run_command(&mut cargo(&clippy))? {
        0 => {}
        code => return Ok(Outcome::Ended(code)),
    }
    let test = [
        "test",
        "--features",
        "mpi",
        "--test",
        "reliability",
        "ranks::",
    ];
    println!("$ cargo {}", test.join(" "));
    run_command(&mut cargo(&test)).map(Outcome::Ended)
}
