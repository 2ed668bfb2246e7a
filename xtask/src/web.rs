//! `cargo xtask web`: the browser page as a folder of static files, and a server to view it.
//!
//! The folder works on any static server under any path. `xtask/bundle` assembles it; it is a
//! separate program because its libraries take long to build.

use std::path::{Path, PathBuf};

use crate::command::{Failure, cargo, root, succeed};
use crate::plan::Goal;
use crate::setup;

/// The options, as `--help` prints them.
pub(crate) const HELP: &str = "\
Options of web:
  --serve           Serves the page on this machine once it is built
  --port N          Port to serve on; 0 takes a free one [default: 8080]
";

/// The target that the page is compiled for.
const TARGET: &str = "wasm32-unknown-unknown";

/// The model that the page ships.
const MODEL: &str = "web/models/cifar10.safetensors";

/// The parsed arguments.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// The port, if the page is to be served.
    port: Option<u16>,
}

/// Builds the page and, if requested, serves it.
///
/// # Errors
/// If an argument is invalid, something is missing, or a build fails.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    let options = parse(arguments).map_err(|message| Failure { message, code: 2 })?;
    setup::run(Goal::Web)?;
    make()?;
    let folder = root().join("web").join("dist");
    println!("The page is in {}", folder.display());
    match options.port {
        Some(port) => bundle(&["serve", &folder.to_string_lossy(), &port.to_string()]),
        None => Ok(()),
    }
}

/// Builds the bindings and assembles `web/dist`.
///
/// # Errors
/// If a build fails.
pub(crate) fn make() -> Result<(), Failure> {
    let wasm = build("pyr-wgpu-web")?;
    let path = |name: &str| root().join(name).to_string_lossy().into_owned();
    let [page, model, out] = ["web/page", MODEL, "web/dist"].map(path);
    bundle(&["make", &wasm, &page, &model, &out])
}

/// Builds the kernel checks for the browser, with their JavaScript half, into a folder.
///
/// # Errors
/// If a build fails.
pub(crate) fn make_checks(out: &Path) -> Result<(), Failure> {
    let wasm = build("pyr-wgpu-web-checks")?;
    bundle(&["bind", &wasm, &out.to_string_lossy()])
}

/// Compiles a package for the browser; returns the path of the WebAssembly file.
fn build(package: &str) -> Result<String, Failure> {
    let build = ["build", "--locked", "--lib", "--package", package];
    let kind = ["--profile", "web", "--target", TARGET];
    let mut command = cargo(&[&build[..], &kind].concat());
    succeed(&mut command, &format!("building {package}"))?;
    let name = format!("{}.wasm", package.replace('-', "_"));
    let path = target().join(TARGET).join("web").join(name);
    Ok(path.to_string_lossy().into_owned())
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(named.unwrap_or_else(|| PathBuf::from("target")))
}

/// Runs the program that assembles the page.
fn bundle(words: &[&str]) -> Result<(), Failure> {
    let run = [
        "run",
        "--quiet",
        "--locked",
        "--package",
        "pyr-wgpu-bundle",
        "--",
    ];
    let mut command = cargo(&[&run[..], words].concat());
    succeed(&mut command, "assembling the page")
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    let mut serve = false;
    let mut port = 8080;
    let mut words = arguments.iter();
    while let Some(&word) = words.next() {
        match word {
            "--serve" => serve = true,
            "--port" => {
                let value = words.next().copied().unwrap_or_default();
                let wrong = |_| format!("--port `{value}` is not a number up to 65535");
                port = value.parse().map_err(wrong)?;
            }
            _ => return Err(format!("web has no option `{word}`\n\n{}", HELP.trim_end())),
        }
    }
    Ok(Options {
        port: serve.then_some(port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_understood() {
        assert_eq!(parse(&[]), Ok(Options { port: None }));
        assert_eq!(parse(&["--serve"]), Ok(Options { port: Some(8080) }));
        let words = ["--serve", "--port", "0"];
        assert_eq!(parse(&words), Ok(Options { port: Some(0) }));
        for (words, part) in [
            (&["--port", "x"][..], "`x` is not a number"),
            (&["--port"], "is not a number"),
            (&["--open"], "no option `--open`"),
        ] {
            let message = parse(words).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
