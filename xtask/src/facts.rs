//! What this machine has: operating system, Vulkan, package sources, Rust tools.
//!
//! Reading and parsing are separate: each `parse` or `*_folders` function is a pure function of
//! text, and [`gather`] supplies the machine's. Nothing here changes the machine.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::command::{cargo, output};
use crate::distributions::Release;
use crate::vulkan::{LOADER, Libraries, manifests};

/// What the plan depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The Linux distribution; `None` on systems whose graphics interface is built in.
    pub(crate) linux: Option<Release>,
    /// Whether `libvulkan.so.1` can be loaded.
    pub(crate) vulkan_loader: bool,
    /// The Vulkan drivers that the loader would find.
    pub(crate) vulkan_drivers: Drivers,
    /// Whether the kernel exposes a GPU.
    pub(crate) graphics_hardware: bool,
    /// Debian's version of the installed `mesa-vulkan-drivers`.
    pub(crate) mesa: Option<String>,
    /// Where apt gets packages from.
    pub(crate) apt_sources: Vec<Source>,
    /// Whether rustup can install parts of Rust.
    pub(crate) rustup: bool,
    /// Whether Rust can compile for wasm32-unknown-unknown.
    pub(crate) wasm_target: bool,
    /// Whether `cargo clippy` and `cargo fmt` exist.
    pub(crate) lint_tools: bool,
    /// Whether Python 3 exists and can make virtual environments.
    pub(crate) python: bool,
    /// Whether there is a Chromium.
    pub(crate) chromium: bool,
    /// Whether there are Node.js and npm.
    pub(crate) node: bool,
    /// Whether there are an MPI with its compiler, and libclang.
    pub(crate) mpi: bool,
}

/// Vulkan drivers as the loader searches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Drivers {
    /// At least one.
    Found,
    /// None.
    Missing,
    /// An environment variable restricts the search to files that do not exist.
    Hidden {
        /// Its name.
        variable: String,
    },
}

/// An archive that apt reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Address of the archive.
    pub(crate) uri: String,
    /// Suites, such as `bookworm` and `bookworm-updates`.
    pub(crate) suites: Vec<String>,
}

/// Inspects this machine.
pub(crate) fn gather() -> Facts {
    let linux = cfg!(target_os = "linux").then(|| {
        let read = |path| std::fs::read_to_string(path).ok();
        let text = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
        Release::parse(&text.unwrap_or_default())
    });
    let libraries = libraries();
    Facts {
        vulkan_loader: linux.is_none() || libraries.have(LOADER),
        vulkan_drivers: match linux {
            Some(_) => drivers(&libraries),
            None => Drivers::Found,
        },
        graphics_hardware: graphics_hardware(),
        mesa: linux.as_ref().and_then(|_| mesa_version()),
        apt_sources: apt_sources(Path::new("/etc/apt")),
        rustup: output("rustup", &["--version"]).is_some(),
        wasm_target: wasm_target(),
        lint_tools: quiet_success(&["clippy", "--version"]) && quiet_success(&["fmt", "--version"]),
        python: output("python3", &["-c", "import ensurepip, venv"]).is_some(),
        chromium: CHROMIUMS.iter().any(|path| Path::new(path).exists())
            || std::env::var_os("CHROMIUM").is_some(),
        node: ["node", "npm"]
            .iter()
            .all(|program| output(program, &["--version"]).is_some()),
        mpi: ["mpicc", "mpirun"]
            .iter()
            .all(|program| output(program, &["--version"]).is_some())
            && libclang(),
        linux,
    }
}

/// Whether there is a libclang where bindgen looks for it.
fn libclang() -> bool {
    let entries = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let is_named = |path: &Path, start: &str| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with(start))
    };
    let llvm = entries(Path::new("/usr/lib")).into_iter();
    let llvm = llvm.filter(|path| is_named(path, "llvm"));
    let folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let mut folders = llvm.map(|path| path.join("lib")).chain(folders);
    std::env::var_os("LIBCLANG_PATH").is_some()
        || folders.any(|folder| {
            let mut files = entries(&folder).into_iter();
            files.any(|file| {
                is_named(&file, "libclang.so")
                    || is_named(&file, "libclang-") && !is_named(&file, "libclang-cpp")
            })
        })
}

fn libraries() -> Libraries {
    // A plain user's PATH often lacks /sbin, where Debian keeps ldconfig.
    let mut programs = ["ldconfig", "/sbin/ldconfig"].iter();
    let cached = programs.find_map(|program| output(program, &["-p"]));
    let variable = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    Libraries::new(Path::new("/"), cached.unwrap_or_default(), &variable)
}

fn drivers(libraries: &Libraries) -> Drivers {
    let environment = |name: &str| std::env::var(name).ok();
    match manifests(Path::new("/"), &environment, libraries) {
        (found, _) if found.iter().any(|manifest| manifest.found) => Drivers::Found,
        (_, Some(variable)) => Drivers::Hidden {
            variable: variable.to_owned(),
        },
        (_, None) => Drivers::Missing,
    }
}

fn graphics_hardware() -> bool {
    let render_node = std::fs::read_dir("/dev/dri").is_ok_and(|entries| {
        let mut names = entries.flatten().map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with("renderD"))
    });
    render_node || Path::new("/dev/nvidiactl").exists() || Path::new("/dev/dxg").exists()
}

fn mesa_version() -> Option<String> {
    let format = "--showformat=${db:Status-Status} ${Version}";
    parse_installed(&output(
        "dpkg-query",
        &["--show", format, "mesa-vulkan-drivers"],
    )?)
}

/// Parses `installed 22.3.6-1`; a removed package with remaining settings has another first word.
fn parse_installed(text: &str) -> Option<String> {
    text.trim().strip_prefix("installed ").map(str::to_owned)
}

fn apt_sources(apt: &Path) -> Vec<Source> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(apt.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut sources = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => sources.extend(text.lines().filter_map(parse_source_line)),
            Some("sources") => sources.extend(parse_source_stanzas(&text)),
            _ => {}
        }
    }
    sources
}

/// Reads a line such as `deb [options] http://deb.debian.org/debian bookworm main`.
fn parse_source_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb ")?.trim();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
    })
}

/// Reads the `Key: value` stanzas of a `.sources` file, leaving out disabled ones.
fn parse_source_stanzas(text: &str) -> Vec<Source> {
    let without_comments: Vec<&str> = text.lines().filter(|l| !l.starts_with('#')).collect();
    let mut sources = Vec::new();
    for stanza in without_comments.split(|line| line.trim().is_empty()) {
        let words = |wanted: &str| -> Vec<String> {
            let mut inside = false;
            let mut found = Vec::new();
            for line in stanza {
                // A line that starts with a space continues the field before it.
                let value = match line.split_once(':') {
                    Some((key, value)) if !line.starts_with([' ', '\t']) => {
                        inside = key.eq_ignore_ascii_case(wanted);
                        value
                    }
                    _ => line,
                };
                if inside {
                    found.extend(value.split_whitespace().map(str::to_owned));
                }
            }
            found
        };
        let enabled = !words("Enabled")
            .iter()
            .any(|w| w.eq_ignore_ascii_case("no"));
        if enabled && words("Types").iter().any(|kind| kind == "deb") {
            for uri in words("URIs") {
                sources.push(Source {
                    uri,
                    suites: words("Suites"),
                });
            }
        }
    }
    let mut seen = HashSet::new();
    sources.retain(|source| seen.insert((source.uri.clone(), source.suites.clone())));
    sources
}

/// Where the page's tests look for a browser, besides the variable `CHROMIUM`.
const CHROMIUMS: [&str; 3] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
];

fn wasm_target() -> bool {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let sysroot = output(&rustc, &["--print", "sysroot"]).unwrap_or_default();
    let library = "lib/rustlib/wasm32-unknown-unknown/lib";
    !sysroot.is_empty() && Path::new(sysroot.trim()).join(library).is_dir()
}

fn quiet_success(arguments: &[&str]) -> bool {
    cargo(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_versions() {
        let installed = Some("22.3.6-1+deb12u1".to_owned());
        assert_eq!(parse_installed("installed 22.3.6-1+deb12u1\n"), installed);
        assert_eq!(parse_installed("config-files 22.3.6-1"), None);
        assert_eq!(parse_installed("not-installed "), None);
    }

    #[test]
    fn apt_lists() {
        let source = |uri: &str, suite: &str| {
            Some(Source {
                uri: uri.to_owned(),
                suites: vec![suite.to_owned()],
            })
        };
        let signed = "deb [arch=amd64 signed-by=/usr/k.gpg] https://m/debian bookworm main # x";
        assert_eq!(
            parse_source_line(signed),
            source("https://m/debian", "bookworm")
        );
        let plain = "deb http://m/debian bookworm-backports main";
        assert_eq!(
            parse_source_line(plain),
            source("http://m/debian", "bookworm-backports")
        );
        assert_eq!(
            parse_source_line("# deb http://m/debian bookworm main"),
            None
        );
        assert_eq!(
            parse_source_line("deb-src http://m/debian bookworm main"),
            None
        );
        assert_eq!(parse_source_line(""), None);
    }

    #[test]
    fn apt_stanzas() {
        let text = "Types: deb deb-src\n# a comment\nURIs: http://m/debian\n\
                    Suites: bookworm\n bookworm-updates\nComponents: main\n\n\
                    Types: deb\nEnabled: no\nURIs: http://m/debian\nSuites: bookworm-backports\n\n\
                    Types: deb-src\nURIs: http://m/debian\nSuites: sid\n";
        let expected = Source {
            uri: "http://m/debian".to_owned(),
            suites: vec!["bookworm".to_owned(), "bookworm-updates".to_owned()],
        };
        assert_eq!(parse_source_stanzas(text), [expected]);
    }
}
