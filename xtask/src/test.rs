//! `cargo xtask test`: every check of the project, quick ones first.
//!
//! All checks run even when one fails, because a log of everything that is wrong saves a round
//! on a machine far away. They share cargo's development profile: its build scripts, macros and
//! metadata serve clippy, the tests and the documentation alike, where a release build would
//! compile all of them once more.

use std::time::{Duration, Instant};

use crate::command::{Failure, cargo, interrupted, run as run_command};
use crate::plan::Goal;
use crate::{matrices, page, setup};

/// A check that is one command line of cargo.
struct Check {
    title: &'static str,
    arguments: &'static [&'static str],
    environment: Option<(&'static str, &'static str)>,
}

const CHECKS: [Check; 5] = [
    Check {
        title: "formatting",
        arguments: &["fmt", "--all", "--check"],
        environment: None,
    },
    Check {
        title: "clippy",
        arguments: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        environment: None,
    },
    Check {
        title: "clippy for wasm32",
        arguments: &[
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
        ],
        environment: None,
    },
    Check {
        title: "tests",
        // Every test file runs, also after a failed one.
        arguments: &["test", "--workspace", "--no-fail-fast"],
        // The set-up brought an adapter, so a test that finds none has found a fault.
        environment: Some(("PYR_WGPU_TEST_GPU", "required")),
    },
    Check {
        title: "documentation",
        arguments: &["doc", "--workspace", "--no-deps"],
        environment: Some(("RUSTDOCFLAGS", "-D warnings")),
    },
];

/// Runs all checks and prints a summary.
///
/// # Errors
/// If the set-up or a check fails.
pub(crate) fn run() -> Result<(), Failure> {
    let start = Instant::now();
    setup::run(Goal::Tests)?;
    let mut results = Vec::new();
    for check in &CHECKS {
        let environment = check
            .environment
            .map(|(name, value)| format!("{name}=\"{value}\" "));
        println!(
            "\n== {}\n$ {}cargo {}",
            check.title,
            environment.unwrap_or_default(),
            check.arguments.join(" ")
        );
        let begin = Instant::now();
        let code = run_command(cargo(check.arguments).envs(check.environment))?;
        if interrupted() {
            return Err(Failure::interrupted());
        }
        results.push((check.title, Some(code), begin.elapsed()));
    }
    println!("\n== matrix units");
    let begin = Instant::now();
    let code = matrices::test()?;
    if interrupted() {
        return Err(Failure::interrupted());
    }
    results.push(("matrix units", code, begin.elapsed()));
    println!("\n== browser page");
    let begin = Instant::now();
    let code = match page::test() {
        Ok(()) => 0,
        Err(_) if interrupted() => return Err(Failure::interrupted()),
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            failure.code
        }
    };
    results.push(("browser page", Some(code), begin.elapsed()));
    println!("\n== summary");
    print!("{}", table(&results, start.elapsed()));
    let failed: Vec<&str> = results
        .iter()
        .filter(|r| r.1.is_some_and(|code| code != 0))
        .map(|r| r.0)
        .collect();
    match failed.as_slice() {
        [] => Ok(()),
        failed => Err(Failure::new(format!("failed: {}", failed.join(", ")))),
    }
}

/// One line for each check and one for the whole; a check without an exit code was skipped.
fn table(results: &[(&str, Option<u8>, Duration)], total: Duration) -> String {
    let line = |title: &str, word: &str, time: Duration| {
        format!("  {title:<20} {word:<7} {:>7.1} s\n", time.as_secs_f64())
    };
    let word = |code: Option<u8>| match code {
        None => "skipped",
        Some(0) => "ok",
        Some(_) => "FAILED",
    };
    let mut text = String::new();
    for (title, code, time) in results {
        text.push_str(&line(title, word(*code), *time));
    }
    text.push_str(&line("with the set-up", "", total));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_what_failed() {
        let second = Duration::from_secs(1);
        let results = [
            ("clippy", Some(0), second),
            ("tests", Some(101), 90 * second),
            ("matrix units", None, second),
        ];
        let expected = "  clippy               ok          1.0 s\n\
                        \x20 tests                FAILED     90.0 s\n\
                        \x20 matrix units         skipped     1.0 s\n\
                        \x20 with the set-up                 92.5 s\n";
        assert_eq!(table(&results, Duration::from_millis(92_500)), expected);
    }
}
