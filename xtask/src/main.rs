//! Project tasks that cargo has no commands for: `cargo xtask setup`, `demo`, `test`, `web`, `mpi`
//! and `isa`.
//!
//! `setup` installs what a fresh machine lacks, `demo` runs the program's main commands, `test`
//! runs every check of the project, quick ones first, `web` builds the browser page, `mpi` the
//! program for several machines, and `isa` compiles the kernels for cards that are not here.
//! Each begins with the set-up it needs, and announces what it installs.
//! This program has two small dependencies, so that the first command on a fresh machine starts
//! within seconds; pyr-wgpu itself is built and run as a child process.

mod command;
mod demo;
#[path = "../../src/cli/doctor/packages.rs"]
mod distributions;
mod facts;
mod isa;
mod linters;
mod matrices;
mod mesa;
mod mpi;
mod packages;
mod page;
mod plan;
mod setup;
mod test;
mod tools;
mod vectors;
#[path = "../../src/cli/doctor/vulkan.rs"]
mod vulkan;
mod web;

use std::process::ExitCode;

use command::Failure;
use plan::Goal;

const USAGE: &str = "\
Usage: cargo xtask <TASK>

Tasks:
  demo   Installs what is missing, builds, trains a small network, evaluates it and classifies
         images
  test   Installs what is missing for the tests and runs all of them
  web    Builds the browser page in web/dist; --serve also serves it
  mpi    Installs an MPI where it is missing, and builds the program for several machines
  isa    Compiles the kernels for several cards, and compares registers, spills and instructions
         with the committed table; --update renews the table
  setup  Only installs what is missing for demo and test

benches/README.md has the comparisons with other programs.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match command::catch_interrupts().and_then(|()| run(&words)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn run(words: &[&str]) -> Result<(), Failure> {
    match words {
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        ["mpi"] => mpi::run(),
        ["setup"] => setup::run(Goal::Tests).map(|()| println!("Nothing is missing.")),
        ["web", options @ ..] if !options.contains(&"--help") => web::run(options),
        ["isa", options @ ..] if !options.contains(&"--help") => isa::run(options),
        ["--help" | "-h" | "help"] | ["web" | "isa", ..] => {
            print!("{USAGE}\n{}\n{}", web::HELP, isa::HELP);
            Ok(())
        }
        [] => Err(usage("no task is given")),
        _ => Err(usage(&format!("no task is called `{}`", words.join(" ")))),
    }
}

fn usage(problem: &str) -> Failure {
    Failure {
        message: format!("{problem}\n\n{}", USAGE.trim_end()),
        code: 2,
    }
}
