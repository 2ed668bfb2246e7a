//! Checks of the source's structure, which read it as text.
//!
//! `rooms` checks which parts of `src` use which: within one crate the compiler cannot restrict
//! it. `stems` checks that files of one operator have one stem, `documents` the paths in the
//! documentation. Here are file heads, file lengths and manifests.
//! Every check reports all its findings, and fails if it has inspected nothing.

mod documents;
mod rooms;
mod scan;
mod stems;
mod uses;

use std::path::{Path, PathBuf};

/// Lines of the longest source file: a longer one usually has two topics.
const LONGEST_FILE: usize = 600;

/// Fewer files than this mean that a check searched the wrong place.
const SEEN_AT_LEAST: usize = 5;

struct File {
    /// Path from the repository's root, with `/`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder whose names have one of these endings, sorted.
fn files(folder: &str, endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    collect(&root().join(folder), endings, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, endings: &[&str], found: &mut Vec<File>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // Build outputs are not checked.
            if !["target", "dist", "node_modules"].contains(&name.as_str()) {
                collect(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let relative = path.strip_prefix(root()).unwrap_or(&path);
            let text = std::fs::read_to_string(&path);
            found.push(File {
                path: relative.to_string_lossy().replace('\\', "/"),
                text: text.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            });
        }
    }
}

fn rust_files(folders: &[&str]) -> Vec<File> {
    let found: Vec<File> = folders.iter().flat_map(|f| files(f, &[".rs"])).collect();
    assert!(
        found.len() >= SEEN_AT_LEAST,
        "{folders:?}: {} files",
        found.len()
    );
    found
}

/// A relative path from a folder, with `..` taken out.
fn resolve(folder: &Path, target: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for part in target.split('/') {
        match part {
            ".." => {
                path.pop();
            }
            "." | "" => {}
            part => path.push(part),
        }
    }
    path
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut problems = Vec::new();
    for file in rust_files(&["src", "tests", "xtask", "web", "benches"]) {
        if !file.text.starts_with("//! ") {
            problems.push(format!("{} does not begin with //!", file.path));
        }
    }
    let shaders = files("shaders", &[".wgsl"]);
    assert!(shaders.len() >= SEEN_AT_LEAST);
    for file in shaders {
        if !file.text.starts_with("// ") {
            problems.push(format!("{} does not begin with a comment", file.path));
        }
    }
    report(&problems);
}

#[test]
fn no_source_file_is_too_long() {
    let too_long = |file: &File| file.text.lines().count() > LONGEST_FILE;
    let problems: Vec<String> = rust_files(&["src", "xtask", "web", "benches"])
        .iter()
        .filter(|file| too_long(file))
        .map(|file| {
            format!(
                "{} has {} lines, more than {LONGEST_FILE}; split it by topic",
                file.path,
                file.text.lines().count()
            )
        })
        .collect();
    report(&problems);
}

#[test]
fn paths_are_escaped_where_they_are_printed() {
    let mut problems = Vec::new();
    for file in rust_files(&["src"]) {
        let code = scan::code(&file.text);
        let body = code.split("\nmod tests {").next().unwrap_or_default();
        if body.contains(".display()") && !file.path.ends_with("/tests.rs") {
            problems.push(format!(
                "{} prints a path as it is; use text::printable_path or text::quoted",
                file.path
            ));
        }
    }
    report(&problems);
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let endings = [
        ".rs", ".wgsl", ".md", ".toml", ".py", ".html", ".js", ".mjs", ".css", "run",
    ];
    let mut all = documents::documents();
    for folder in [
        "src", "tests", "xtask", "web", "shaders", "datasets", "examples", "benches", ".ci",
    ] {
        all.extend(files(folder, &endings));
    }
    assert!(all.len() >= SEEN_AT_LEAST);
    let mut problems = Vec::new();
    for file in &all {
        // The list below would find itself; tests may name the usual place for scratch files.
        if file.path == "tests/tidy/main.rs" {
            continue;
        }
        let scratch_is_fine = file.path.starts_with("tests/");
        for place in ["/work/", "/root/", "/home/", "/tmp/"] {
            let named = file.text.match_indices(place).any(|(at, _)| {
                let before = file.text[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-}/".contains(c))
            });
            if named && !(place == "/tmp/" && scratch_is_fine) {
                problems.push(format!("{} names {place}", file.path));
            }
        }
    }
    report(&problems);
}

#[test]
fn manifests_agree() {
    let read = |path: &str| {
        let text = std::fs::read_to_string(root().join(path));
        text.unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let mut problems = Vec::new();
    for path in [
        "Cargo.toml",
        "web/Cargo.toml",
        "web/checks/Cargo.toml",
        "benches/peers/Cargo.toml",
        "xtask/Cargo.toml",
        "xtask/bundle/Cargo.toml",
    ] {
        let text = read(path);
        for field in ["version", "edition", "rust-version", "license"] {
            if !text.contains(&format!("\n{field}.workspace = true")) {
                problems.push(format!("{path} does not take {field} from the workspace"));
            }
        }
        if !text.contains("\n[lints]\nworkspace = true") {
            problems.push(format!("{path} does not take the lints of the workspace"));
        }
        if !path.starts_with("Cargo") && !text.contains("\npublish = false") {
            problems.push(format!("{path} lacks publish = false"));
        }
    }
    let root_manifest = read("Cargo.toml");
    for needed in [
        "rust-version = \"",
        "license = \"MIT OR Apache-2.0\"",
        "resolver = ",
    ] {
        if !root_manifest.contains(needed) {
            problems.push(format!("Cargo.toml lacks {needed}"));
        }
    }
    for file in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "CHANGELOG.md",
        "Cargo.lock",
        ".ci/run",
    ] {
        if !root().join(file).is_file() {
            problems.push(format!("{file} is missing"));
        }
    }
    // The first command on a fresh machine has to start within seconds.
    let xtask = read("xtask/Cargo.toml");
    let dependencies = xtask.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies = dependencies.split("\n[").next().unwrap_or_default();
    let names = dependencies
        .lines()
        .filter_map(|line| line.split_once(" = "));
    for (name, _) in names.filter(|(name, _)| !["serde_json", "signal-hook"].contains(name)) {
        problems.push(format!("xtask depends on {name}, which delays its start"));
    }
    report(&problems);
}
