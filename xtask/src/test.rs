//! `cargo xtask test`: every check of the project, quick ones first.
//!
//! All checks run even if one fails, because a complete log saves another round on a remote
//! machine. They share cargo's development profile, because clippy, the tests and the documentation
//! reuse its build scripts, macros and metadata, which a release build would compile again.

use std::time::{Duration, Instant};

use crate::command::{Failure, cargo, interrupted, run as run_command};
use crate::linters::{self, Linters};
use crate::plan::Goal;
use crate::{isa, matrices, mpi, page, setup, vectors};

/// How a check ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// With this exit code.
    Ended(u8),
    /// It could not run, for this reason.
    Skipped(String),
}

/// Runs all checks and prints a summary.
///
/// # Errors
/// If the set-up or a check fails.
pub(crate) fn run() -> Result<(), Failure> {
    let start = Instant::now();
    setup::run(Goal::Tests)?;
    let mut summary = Summary::default();
    summary.add("formatting", || {
        run_cargo(&["fmt", "--all", "--check"], None)
    })?;
    let linters = Linters::install()?;
    summary.add("spelling", || linters.spelling())?;
    summary.add("dependencies", || linters.dependencies())?;
    summary.add("advisories", || linters.advisories())?;
    summary.add("script for cards", linters::card_script)?;
    summary.add("clippy", || run_cargo(&CLIPPY, None))?;
    summary.add("clippy for wasm32", || run_cargo(&CLIPPY_WASM, None))?;
    // The set-up has installed an adapter, so a test that finds none must fail.
    let required = Some(("PYR_WGPU_TEST_GPU", "required"));
    // Every test file runs, even after one has failed.
    let tests = ["test", "--workspace", "--no-fail-fast"];
    summary.add("tests", || run_cargo(&tests, required))?;
    summary.add("ONNX files", linters::onnx)?;
    let warnings = Some(("RUSTDOCFLAGS", "-D warnings"));
    let doc = ["doc", "--workspace", "--no-deps"];
    summary.add("documentation", || run_cargo(&doc, warnings))?;
    summary.add("vectors", vectors::test)?;
    summary.add("matrix units", matrices::test)?;
    summary.add("several processes", mpi::test)?;
    summary.add("other cards", isa::test)?;
    summary.add("browser page", page::test)?;
    println!("\n== summary\n{}", summary.table(start.elapsed()));
    summary.conclude()
}

const CLIPPY: [&str; 6] = [
    "clippy",
    "--workspace",
    "--all-targets",
    "--",
    "-D",
    "warnings",
];

const CLIPPY_WASM: [&str; 14] = [
    "clippy",
    "--lib",
    "--package",
    "pyr-wgpu",
    "--package",
    "pyr-wgpu-web",
    "--package",
    "pyr-wgpu-web-checks",
    "--target",
    "wasm32-unknown-unknown",
    "--no-default-features",
    "--",
    "-D",
    "warnings",
];

/// Runs cargo, with an environment variable where one is given.
fn run_cargo(arguments: &[&str], variable: Option<(&str, &str)>) -> Result<Outcome, Failure> {
    let prefix = variable.map(|(name, value)| format!("{name}=\"{value}\" "));
    println!(
        "$ {}cargo {}",
        prefix.unwrap_or_default(),
        arguments.join(" ")
    );
    run_command(cargo(arguments).envs(variable)).map(Outcome::Ended)
}

/// Outcome and duration of each check.
#[derive(Default)]
struct Summary(Vec<(&'static str, Outcome, Duration)>);

impl Summary {
    /// Runs a check and records how it ended.
    ///
    /// # Errors
    /// If Ctrl-C interrupted it.
    fn add(
        &mut self,
        title: &'static str,
        check: impl FnOnce() -> Result<Outcome, Failure>,
    ) -> Result<(), Failure> {
        println!("\n== {title}");
        let start = Instant::now();
        let outcome = check();
        if interrupted() {
            return Err(Failure::interrupted());
        }
        let outcome = outcome.unwrap_or_else(|failure| {
            eprintln!("error: {}", failure.message);
            Outcome::Ended(failure.code)
        });
        if let Outcome::Skipped(reason) = &outcome {
            println!("Skipped: {reason}.");
        }
        self.0.push((title, outcome, start.elapsed()));
        Ok(())
    }

    /// A line for each check and one for the total.
    fn table(&self, total: Duration) -> String {
        let line = |title: &str, word: &str, time: Duration| {
            format!("  {title:<20} {word:<7} {:>7.1} s", time.as_secs_f64())
        };
        let mut lines = Vec::new();
        for (title, outcome, time) in &self.0 {
            lines.push(match outcome {
                Outcome::Ended(0) => line(title, "ok", *time),
                Outcome::Ended(_) => line(title, "FAILED", *time),
                Outcome::Skipped(reason) => format!("{}  {reason}", line(title, "skipped", *time)),
            });
        }
        lines.push(line("with the set-up", "", total));
        lines.join("\n")
    }

    /// Fails if a check failed.
    fn conclude(&self) -> Result<(), Failure> {
        let failed =
            |outcome: &Outcome| !matches!(outcome, Outcome::Ended(0) | Outcome::Skipped(_));
        let checks = self.0.iter().filter(|(_, outcome, _)| failed(outcome));
        let titles: Vec<&str> = checks.map(|(title, ..)| *title).collect();
        match titles.as_slice() {
            [] => Ok(()),
            titles => Err(Failure::new(format!("failed: {}", titles.join(", ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_failed_and_what_was_skipped() {
        let second = Duration::from_secs(1);
        let skipped = Outcome::Skipped("no network".to_owned());
        let summary = Summary(vec![
            ("clippy", Outcome::Ended(0), second),
            ("tests", Outcome::Ended(101), 90 * second),
            ("advisories", skipped, second),
        ]);
        let expected = "  clippy               ok          1.0 s\n\
                        \x20 tests                FAILED     90.0 s\n\
                        \x20 advisories           skipped     1.0 s  no network\n\
                        \x20 with the set-up                 92.5 s";
        assert_eq!(summary.table(Duration::from_millis(92_500)), expected);
        assert_eq!(summary.conclude().unwrap_err().message, "failed: tests");
    }

    #[test]
    fn an_error_of_a_check_counts_as_failed() {
        let mut summary = Summary::default();
        summary.add("a", || Ok(Outcome::Ended(0))).unwrap();
        assert_eq!(summary.conclude(), Ok(()));
        summary.add("b", || Err(Failure::new("no cargo"))).unwrap();
        assert_eq!(summary.conclude().unwrap_err().message, "failed: b");
    }
}
