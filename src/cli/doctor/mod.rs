//! `pyr-wgpu doctor`: what this system lacks to use its GPU, and the command that brings it.
//!
//! [`facts`] reads the system, [`findings`] judges what was read, so that tests cover systems that
//! are not this one.

mod facts;
mod findings;
mod packages;
#[cfg(test)]
mod tests;
mod vulkan;

use clap::Args as ClapArgs;
use serde_json::json;

use super::error::CliError;
use super::{print_json, print_line};
use findings::{Finding, Level};

/// Arguments of `doctor`.
#[derive(ClapArgs)]
pub(super) struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Inspects the system and prints the findings.
///
/// # Errors
/// If they cannot be printed: the CPU device can always train.
pub(super) fn run(args: Args) -> Result<(), CliError> {
    let facts = facts::gather();
    let findings = findings::findings(&facts);
    if args.json {
        return print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "system": facts.system,
            "findings": findings,
        }));
    }
    for (level, title) in [
        (Level::Ok, "ok"),
        (Level::Warning, "warning"),
        (Level::Missing, "missing"),
    ] {
        let of_level: Vec<&Finding> = findings.iter().filter(|f| f.level == level).collect();
        if of_level.is_empty() {
            continue;
        }
        print_line(title)?;
        for Finding { text, command, .. } in of_level {
            print_line(&format!("  {text}"))?;
            if let Some(command) = command {
                print_line(&format!("    {command}"))?;
            }
        }
    }
    Ok(())
}
