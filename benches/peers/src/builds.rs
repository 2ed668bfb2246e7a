//! Builds our program and burn's peer, installs the Python peers, and starts the peers.
//!
//! Builds, logs and the virtual environment are in `target/peers`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::options::{DEVICE, Platform, Row};
use crate::process::{Process, Ready, last_line};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The directory of builds, logs and the virtual environment.
fn folder() -> PathBuf {
    root().join("target").join("peers")
}

/// A cargo command in the repository's root.
fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Runs a command, which must succeed.
fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("`{program}` cannot be started"))?;
    match status.success() {
        true => Ok(()),
        false => bail!("`{program}` failed: {status}"),
    }
}

/// Runs a command, which must succeed, and returns its standard output.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("`{program}` cannot be started"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}: {}",
            output.status,
            last_line(&stderr).unwrap_or_default()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Installs what the project needs on this machine.
///
/// # Errors
/// If the set-up fails.
pub(crate) fn set_up() -> Result<()> {
    std::fs::create_dir_all(folder()).with_context(|| folder().display().to_string())?;
    succeed(&mut cargo(&["xtask", "setup"]))
}

/// Our program.
pub(crate) struct Ours {
    program: PathBuf,
    version: String,
}

/// The fields of `pyr-wgpu bench --json` that the table needs.
#[derive(Debug, PartialEq, Deserialize)]
struct Report {
    images_per_second: f64,
    adapter: String,
    driver: Option<String>,
}

/// An adapter as `pyr-wgpu devices --json` lists it.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Adapter {
    pub(crate) name: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Ours {
    /// Builds our program.
    ///
    /// # Errors
    /// If the build fails.
    pub(crate) fn build() -> Result<Ours> {
        eprintln!("== Building pyr-wgpu");
        let built = build(&["--bin", "pyr-wgpu"])?;
        // A copy, so that a later build does not change what is measured.
        let program = folder().join(built.file_name().unwrap_or_default());
        std::fs::copy(&built, &program).with_context(|| program.display().to_string())?;
        let mut describe = Command::new("git");
        describe
            .args(["describe", "--always", "--dirty"])
            .current_dir(root());
        let version = match output(&mut describe) {
            Ok(commit) => format!("{} ({})", env!("CARGO_PKG_VERSION"), commit.trim()),
            Err(_) => env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Ours { program, version })
    }

    /// The first adapter whose name contains `device`.
    ///
    /// # Errors
    /// If there is none; the message lists all adapters.
    pub(crate) fn find_adapter(&self, device: &str) -> Result<Adapter> {
        let json = output(Command::new(&self.program).args(["devices", "--json"]))?;
        choose_adapter(serde_json::from_str(&json)?, device)
    }

    /// Measures images per second of a workload; also returns our version and device.
    ///
    /// # Errors
    /// If `bench` fails.
    pub(crate) fn measure(&self, row: &Row, device: &str, seconds: f64) -> Result<(f64, String)> {
        let mut command = Command::new(&self.program);
        command.args(["bench", "--json"]).args(row.flags()).args([
            "--device",
            device,
            "--seconds",
            &seconds.to_string(),
        ]);
        let Report {
            images_per_second,
            adapter,
            driver,
        } = serde_json::from_str(&output(&mut command)?)?;
        let driver = driver.map_or(String::new(), |driver| format!(", {driver}"));
        let description = format!("ours: pyr-wgpu {} on {adapter}{driver}", self.version);
        Ok((images_per_second, description))
    }
}

fn choose_adapter(adapters: Vec<Adapter>, device: &str) -> Result<Adapter> {
    let wanted = device.to_lowercase();
    let names: Vec<String> = adapters.iter().map(|it| it.name.clone()).collect();
    let mut matching = adapters
        .into_iter()
        .filter(|it| it.name.to_lowercase().contains(&wanted));
    matching.next().with_context(|| {
        let hint = match device == DEVICE {
            true => " (Mesa's driver for the CPU; `--device` chooses another)",
            false => "",
        };
        format!(
            "no adapter name contains `{device}`{hint}; found: {}",
            names.join("; ")
        )
    })
}

/// A platform, built or installed, that starts its peers.
pub(crate) struct Launcher {
    pub(crate) platform: Platform,
    /// Our device in comparisons with its peers, as an argument of `--device`.
    pub(crate) device: String,
    /// Program and leading arguments of every peer.
    words: Vec<OsString>,
    /// The adapter that its peers must run on, if they select one.
    adapter: Option<Adapter>,
}

impl Launcher {
    /// Builds burn's peer, a separate workspace, with kernels that suit the adapter.
    ///
    /// # Errors
    /// If the build fails.
    pub(crate) fn burn(adapter: Adapter) -> Result<Launcher> {
        eprintln!("== Building burn, which takes many minutes the first time");
        let target = folder().join("burn");
        let target = target.to_string_lossy();
        let manifest = "benches/peers/burn/Cargo.toml";
        let mut arguments = vec!["--locked", "--manifest-path", manifest, "--target-dir"];
        arguments.push(&target);
        if !adapter.is_software() && cfg!(not(target_os = "macos")) {
            arguments.extend(["--features", "vulkan"]);
        }
        Ok(Launcher {
            platform: Platform::Burn,
            device: adapter.name.clone(),
            words: vec![build(&arguments)?.into()],
            adapter: Some(adapter),
        })
    }

    /// Installs PyTorch and ONNX Runtime in a virtual environment, unless they are already
    /// installed.
    ///
    /// # Errors
    /// If the installation fails.
    pub(crate) fn python() -> Result<Launcher> {
        let environment = folder().join("venv");
        eprintln!(
            "== Installing PyTorch and ONNX Runtime in {}",
            environment.display()
        );
        let python = match cfg!(windows) {
            true => environment.join("Scripts").join("python.exe"),
            false => environment.join("bin").join("python"),
        };
        let peer = root().join("benches").join("peers").join("torch");
        let mut create = Command::new("python3");
        succeed(create.args(["-m", "venv"]).arg(&environment))?;
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--retries", "2"]);
        succeed(
            install
                .arg("--requirement")
                .arg(peer.join("requirements.txt")),
        )?;
        Ok(Launcher {
            platform: Platform::Python,
            device: "cpu".to_owned(),
            words: vec![python.into(), peer.join("bench.py").into()],
            adapter: None,
        })
    }

    /// Starts a peer with the arguments for a workload and waits until it is ready; also returns
    /// its version and device.
    ///
    /// # Errors
    /// If it cannot be started, fails, or uses another adapter than ours.
    pub(crate) fn start(&self, peer: &str, arguments: &[String]) -> Result<(Process, String)> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).args(arguments);
        if self.adapter.as_ref().is_some_and(Adapter::is_software) {
            // By default, burn uses a GPU if there is one.
            command.env("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu");
        }
        let log = folder().join(format!("{peer}.log"));
        let (process, Ready { version, device }) = Process::start(command, &log)?;
        if let Some(ours) = &self.adapter
            && device != ours.name
        {
            bail!(
                "it uses the adapter {device}, ours is {}: not compared",
                ours.name
            );
        }
        Ok((process, format!("{peer}: {version} on {device}")))
    }
}

impl Adapter {
    fn is_software(&self) -> bool {
        self.kind == "cpu"
    }
}

/// Builds in release mode and returns the program's path.
fn build(arguments: &[&str]) -> Result<PathBuf> {
    let format = "--message-format=json-render-diagnostics";
    let mut command = cargo(&["build", "--release", format]);
    let messages = output(command.args(arguments).stderr(Stdio::inherit()))?;
    built_program(&messages).context("cargo reported no executable")
}

/// The last executable in cargo's messages.
fn built_program(messages: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
    }
    let executable = |line| serde_json::from_str::<Message>(line).ok()?.executable;
    messages.lines().rev().find_map(executable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_chosen_by_a_part_of_its_name() {
        let json = r#"[{"index":0,"name":"Radeon","type":"discrete-gpu"},
                       {"index":1,"name":"llvmpipe (LLVM 15, 256 bits)","type":"cpu"}]"#;
        let choose = |device| choose_adapter(serde_json::from_str(json).unwrap(), device);
        let adapter = choose("LLVMpipe").unwrap();
        assert_eq!(adapter.name, "llvmpipe (LLVM 15, 256 bits)");
        assert!(adapter.is_software());
        assert!(!choose("radeon").unwrap().is_software());
        let message = choose("geforce").unwrap_err().to_string();
        assert!(message.contains("Radeon; llvmpipe"), "{message}");
    }

    #[test]
    fn reports_need_a_speed() {
        let json = r#"{"adapter":"the CPU","batch_size":1,"driver":null,"images_per_second":7}"#;
        let report: Report = serde_json::from_str(json).unwrap();
        assert_eq!((report.images_per_second, report.driver), (7.0, None));
        let without = r#"{"adapter":"the CPU","driver":null,"images_per_second":null}"#;
        assert!(serde_json::from_str::<Report>(without).is_err());
    }

    #[test]
    fn the_program_that_cargo_built_is_found() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"C:\\\\a b\\\\x.exe\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            built_program(messages),
            Some(PathBuf::from("C:\\a b\\x.exe"))
        );
        assert_eq!(built_program("{\"reason\":\"build-finished\"}"), None);
    }

    #[test]
    fn the_peers_exist() {
        let peers = root().join("benches").join("peers");
        for file in [
            "burn/Cargo.lock",
            "torch/bench.py",
            "torch/requirements.txt",
        ] {
            assert!(peers.join(file).is_file(), "{file}");
        }
    }
}
