//! The tests of the browser page, built as for release, in a real Chromium.

use std::path::Path;
use std::process::Command;

use crate::command::{Failure, cargo, root, run, same_contents, succeed};
use crate::test::Outcome;
use crate::web;

/// Builds the page and runs its tests.
///
/// # Errors
/// If something is missing or a build fails.
pub(crate) fn test() -> Result<Outcome, Failure> {
    web::make()?;
    let checks = web::target().join("page").join("checks");
    web::make_checks(&checks)?;
    // The tests compare with the command line.
    let binary = ["build", "--locked", "--workspace", "--bin", "pyr-wgpu"];
    succeed(&mut cargo(&binary), "building the command line")?;
    let folder = root().join("web").join("tests");
    install(&folder)?;
    let program = format!("pyr-wgpu{}", std::env::consts::EXE_SUFFIX);
    let mut node = Command::new("node");
    node.args(["--test", "--test-concurrency=1"])
        .args(["page.test.mjs", "kernels.test.mjs"])
        .current_dir(&folder)
        .env("PYR_WGPU", web::target().join("debug").join(program))
        .env("CHECKS", &checks);
    run(&mut node).map(Outcome::Ended)
}

/// Installs the npm packages of a folder's lock file, unless they are installed.
///
/// # Errors
/// If the installation fails.
fn install(folder: &Path) -> Result<(), Failure> {
    let wanted = folder.join("package-lock.json");
    let installed = folder.join("node_modules").join("installed.json");
    if same_contents(&wanted, &installed) {
        return Ok(());
    }
    let program = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let mut npm = Command::new(program);
    npm.args(["ci", "--no-audit", "--no-fund"])
        .current_dir(folder);
    succeed(&mut npm, &format!("npm ci in {}", folder.display()))?;
    std::fs::copy(&wanted, &installed)
        .map_err(|error| Failure::new(format!("{}: {error}", installed.display())))?;
    Ok(())
}
