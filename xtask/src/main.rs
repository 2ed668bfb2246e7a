//! Project tasks that cargo has no words for: `cargo xtask setup`, `demo`, `test`, `web`,
//! `bench-peers` and `bench-web`.
//!
//! `setup` brings what a fresh machine lacks, `demo` shows the whole program once, `test` runs
//! every check of the project in the order of a developer's patience, `web` makes the browser
//! page, and `bench-peers` and `bench-web` hold our speed against that of other programs.
//! Each begins with the set-up it needs, and says what it installs before it does.
//! Only the standard library is used, so that the first command on a fresh machine starts
//! within seconds; the program itself is built and run as a child process.

mod bench_web;
mod command;
mod demo;
mod facts;
mod matrices;
mod packages;
mod page;
mod peers;
mod plan;
mod setup;
mod test;
mod tools;
mod values;
mod web;

use std::process::ExitCode;

use command::Failure;
use plan::Goal;

const USAGE: &str = "\
Usage: cargo xtask <TASK>

Tasks:
  demo         Brings what is missing, builds, trains a small network, evaluates it, classifies
               pictures
  test         Brings what is missing for the tests and runs all of them
  web          Makes the browser page, in web/dist, and serves it
  setup        Only brings what is missing, for both
  bench-peers  Builds burn, installs PyTorch, and measures our speed and theirs by turns
  bench-web    The same in a browser, with ONNX Runtime Web and TensorFlow.js
";

fn main() -> ExitCode {
    command::catch_interrupts();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        ["setup"] => setup::run(Goal::Tests).map(|()| println!("Nothing is missing.")),
        ["bench-peers", ref options @ ..] if !options.contains(&"--help") => peers::run(options),
        ["web", ref options @ ..] if !options.contains(&"--help") => web::run(options),
        ["bench-web", ref options @ ..] if !options.contains(&"--help") => bench_web::run(options),
        ["--help" | "-h" | "help"] | ["bench-peers" | "bench-web" | "web", ..] => {
            let help = [USAGE, web::HELP, peers::HELP, bench_web::HELP];
            print!("{}", help.join("\n"));
            Ok(())
        }
        [] => Err(usage("which task?")),
        _ => Err(usage(&format!("no task is called `{}`", words.join(" ")))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn usage(problem: &str) -> Failure {
    Failure {
        message: format!("{problem}\n\n{}", USAGE.trim_end()),
        code: 2,
    }
}
