//! Brings the programs that are compared: builds ours and burn's, installs PyTorch; and says
//! how to run them.
//!
//! Everything lies in `target/peers`. PyTorch gets a virtual environment of its own, which is
//! made once for each list of requirements.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::options::{Peer, Row, Runtime};
use super::process::{last_line, parse_speed};
use crate::command::{Failure, cannot_start, cargo, exit_code, interrupted, output, root};
use crate::facts::string_values;
use crate::plan::{Step, Task};
use crate::setup;

/// The program of PyTorch's peer, and what it needs.
const TORCH: &str = "benches/peers/torch";

/// PyTorch's own index of builds for processors alone; those of the general index bring
/// gigabytes of libraries for NVIDIA's GPUs along, but will do.
const PROCESSOR_INDEX: &str = "https://download.pytorch.org/whl/cpu";

/// The programs, ready to be run.
pub(super) struct Builds {
    folder: PathBuf,
    ours: PathBuf,
    /// Our version, with the commit where the source is a repository.
    pub(super) version: String,
    burn: Option<PathBuf>,
}

/// What ours measured.
pub(super) struct Ours {
    /// Images per second.
    pub(super) speed: f64,
    /// What it ran on, with the driver.
    pub(super) device: String,
}

impl Builds {
    /// Builds ours.
    ///
    /// # Errors
    /// If the build fails.
    pub(super) fn ours() -> Result<Builds, Failure> {
        let folder = root().join("target").join("peers");
        std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
        eprintln!("== Building ours");
        let built = build(&["--bin", "pyr-wgpu"])?;
        // A copy, so that a build meanwhile does not change what is measured.
        let ours = folder.join(built.file_name().unwrap_or_default());
        std::fs::copy(&built, &ours).map_err(|error| unwritable(&ours, &error))?;
        Ok(Builds {
            folder,
            ours,
            version: version(),
            burn: None,
        })
    }

    /// Builds burn's peer, a workspace of its own, with the kernels that suit the adapter.
    ///
    /// # Errors
    /// If the build fails.
    pub(super) fn build_burn(&mut self, software: bool) -> Result<(), Failure> {
        eprintln!("== Building burn, which takes many minutes the first time");
        let target = self.folder.join("burn");
        let target = target.to_string_lossy();
        let manifest = "benches/peers/burn/Cargo.toml";
        let mut arguments = vec!["--locked", "--manifest-path", manifest, "--target-dir"];
        arguments.push(&target);
        if !software && cfg!(not(target_os = "macos")) {
            arguments.extend(["--features", "vulkan"]);
        }
        self.burn = Some(build(&arguments)?);
        Ok(())
    }

    /// Makes the virtual environment with PyTorch, unless it is there.
    ///
    /// # Errors
    /// If the installation fails.
    pub(super) fn install_torch(&self) -> Result<(), Failure> {
        let venv = self.folder.join("venv");
        let wanted = root().join(TORCH).join("requirements.txt");
        let installed = venv.join("requirements.txt");
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        if read(&installed) == read(&wanted) && python(&venv).exists() {
            return Ok(());
        }
        setup::perform(&torch_task(&venv, &wanted))?;
        match std::fs::copy(&wanted, &installed) {
            Ok(_) => Ok(()),
            Err(error) => Err(unwritable(&installed, &error)),
        }
    }

    /// A peer's program with its own arguments; those of the row follow.
    pub(super) fn command(&self, peer: &Peer) -> Command {
        let mut command = match (peer.runtime, &self.burn) {
            (Runtime::Burn, Some(burn)) => Command::new(burn),
            (Runtime::Burn, None) => unreachable!("burn is built when a peer needs it"),
            (Runtime::Torch, _) => {
                let mut command = Command::new(python(&self.folder.join("venv")));
                command.arg(root().join(TORCH).join("bench.py"));
                command
            }
        };
        command.args(peer.arguments);
        command
    }

    /// Where a peer's standard error goes.
    pub(super) fn log(&self, peer: &Peer) -> PathBuf {
        self.folder.join(format!("{}.log", peer.name))
    }

    /// Runs our `bench` on a row.
    ///
    /// # Errors
    /// If it fails, with its last words.
    pub(super) fn measure_ours(
        &self,
        row: &Row,
        device: &str,
        seconds: f64,
    ) -> Result<Ours, String> {
        let [depth, alpha, batch, mode] = row.words();
        let seconds = seconds.to_string();
        let arguments = [
            ["--depth", &depth],
            ["--alpha", &alpha],
            ["--batch-size", &batch],
            ["--mode", &mode],
            ["--device", device],
            ["--seconds", &seconds],
        ];
        let mut command = Command::new(&self.ours);
        command.arg("bench").args(arguments.concat()).arg("--json");
        let output = command
            .output()
            .map_err(|error| cannot_start(&command, &error).message)?;
        let error = String::from_utf8_lossy(&output.stderr);
        match exit_code(output.status) {
            0 => parse_report(&String::from_utf8_lossy(&output.stdout)),
            code => Err(format!(
                "exit code {code}: {}",
                last_line(&error).unwrap_or_default()
            )),
        }
    }
}

/// Takes from the JSON of `pyr-wgpu bench` what the table needs.
fn parse_report(json: &str) -> Result<Ours, String> {
    let speed = number(json, "images_per_second")
        .ok_or("its report has no images_per_second above zero")?;
    let value = |key| string_values(json, key).into_iter().next();
    let driver = value("driver").map_or(String::new(), |driver| format!(", {driver}"));
    let adapter = value("adapter").unwrap_or_default();
    Ok(Ours {
        speed,
        device: format!("{adapter}{driver}"),
    })
}

fn version() -> String {
    let root = root();
    let describe = [
        "-C",
        &root.to_string_lossy(),
        "describe",
        "--always",
        "--dirty",
    ];
    let package = env!("CARGO_PKG_VERSION");
    match output("git", &describe) {
        Some(commit) => format!("{package} ({})", commit.trim()),
        None => package.to_owned(),
    }
}

/// The number above zero that a key has in a JSON text.
fn number(json: &str, key: &str) -> Option<f64> {
    let (_, after) = json.split_once(&format!("\"{key}\""))?;
    let after = after.trim_start().strip_prefix(':')?;
    parse_speed(after.split([',', '}']).next()?)
}

/// Builds with optimisation and returns the program's path.
fn build(arguments: &[&str]) -> Result<PathBuf, Failure> {
    let format = "--message-format=json-render-diagnostics";
    let mut command = cargo(&["build", "--release", format]);
    command.args(arguments).stderr(Stdio::inherit());
    let output = command
        .output()
        .map_err(|error| cannot_start(&command, &error))?;
    if interrupted() {
        return Err(Failure::interrupted());
    }
    let code = exit_code(output.status);
    if code != 0 {
        return Err(Failure::new(format!(
            "the build ended with exit code {code}; the reason stands above"
        )));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let program = string_values(&messages, "executable").pop();
    // In JSON, the separators of paths on Windows are doubled.
    program
        .map(|path| PathBuf::from(path.replace(r"\\", r"\")))
        .ok_or_else(|| Failure::new("cargo names no program that it has built"))
}

/// The interpreter of a virtual environment.
fn python(venv: &Path) -> PathBuf {
    match cfg!(windows) {
        true => venv.join("Scripts").join("python.exe"),
        false => venv.join("bin").join("python"),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{}: {error}", path.display()))
}

fn torch_task(venv: &Path, requirements: &Path) -> Task {
    let interpreter = python(venv).to_string_lossy().into_owned();
    let requirements = requirements.to_string_lossy();
    let create = Step::new(&["python3", "-m", "venv", &venv.to_string_lossy()]);
    let install = |index: &[&str]| {
        let before = [&interpreter, "-m", "pip", "install", "--requirement"];
        Step::new(&[&before[..], &[&requirements], index].concat())
    };
    let processors = install(&["--index-url", PROCESSOR_INDEX]);
    Task {
        reason: format!(
            "PyTorch is missing and will be installed from {PROCESSOR_INDEX}, or else from PyPI, \
             into {}.",
            venv.display()
        ),
        root: false,
        required: true,
        ways: vec![vec![create.clone(), processors], vec![create, install(&[])]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read() {
        let json = "{\n  \"adapter\": \"llvmpipe (LLVM 15, 256 bits)\",\n  \"batch_size\": 32,\n  \
                    \"driver\": \"llvmpipe Mesa 25\",\n  \"images_per_second\": 121.5,\n}";
        let ours = parse_report(json).unwrap();
        assert_eq!(ours.speed, 121.5);
        assert_eq!(
            ours.device,
            "llvmpipe (LLVM 15, 256 bits), llvmpipe Mesa 25"
        );
        let without = r#"{"adapter":"the processor","driver":null,"images_per_second":7}"#;
        assert_eq!(parse_report(without).unwrap().device, "the processor");
        assert!(parse_report(r#"{"images_per_second":null}"#).is_err());
        assert!(parse_report("").is_err());
    }

    #[test]
    fn pytorch_comes_without_gpu_libraries_if_it_can() {
        let task = torch_task(Path::new("venv"), Path::new("requirements.txt"));
        let lines: Vec<Vec<String>> = task
            .ways
            .iter()
            .map(|way| way.iter().map(|step| step.shell_line(&[])).collect())
            .collect();
        assert_eq!(lines[0][0], "python3 -m venv venv");
        assert!(lines[0][1].ends_with("--index-url https://download.pytorch.org/whl/cpu"));
        assert!(lines[1][1].ends_with("pip install --requirement requirements.txt"));
    }

    #[test]
    fn the_peers_exist() {
        for file in [
            "benches/peers/burn/Cargo.lock",
            "benches/peers/burn/src/main.rs",
        ] {
            assert!(root().join(file).is_file(), "{file}");
        }
        for file in ["bench.py", "requirements.txt"] {
            assert!(root().join(TORCH).join(file).is_file(), "{file}");
        }
    }
}
