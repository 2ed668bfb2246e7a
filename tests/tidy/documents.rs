//! Paths and links in the documentation lead to files that exist.

use std::path::Path;

use crate::{File, SEEN_AT_LEAST, files, report, resolve, root, rust_files};

#[test]
fn documents_name_files_that_exist() {
    let mut problems = Vec::new();
    let mut seen = 0;
    for file in documents() {
        for path in prose_paths(&file.text) {
            seen += 1;
            if !exists_or_is_built(&path) {
                problems.push(format!("{}: `{path}` does not exist", file.path));
            }
        }
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for link in links(&file.text) {
            seen += 1;
            if !root().join(resolve(folder, &link)).exists() {
                problems.push(format!("{}: the link to {link} is broken", file.path));
            }
        }
    }
    for file in rust_files(&["src", "tests", "xtask", "web", "benches"]) {
        let is_doc = |line: &&str| line.starts_with("//!") || line.starts_with("///");
        let docs: Vec<&str> = file
            .text
            .lines()
            .map(str::trim_start)
            .filter(is_doc)
            .collect();
        for path in prose_paths(&docs.join("\n")) {
            seen += 1;
            if !exists_or_is_built(&path) {
                problems.push(format!("{}: `{path}` does not exist", file.path));
            }
        }
    }
    for file in files("shaders", &[".wgsl"]) {
        for path in comment_paths(&file.text) {
            seen += 1;
            if !root().join(&path).exists() {
                problems.push(format!("{}: {path} does not exist", file.path));
            }
        }
    }
    assert!(
        seen >= SEEN_AT_LEAST,
        "only {seen} paths seen: the check inspects nothing"
    );
    report(&problems);
}

/// Whether a path is in the repository, or one of the outputs that `.gitignore` names from the
/// root: those exist after a build only.
fn exists_or_is_built(path: &str) -> bool {
    let ignored = std::fs::read_to_string(root().join(".gitignore")).unwrap();
    let mut outputs = ignored.lines().filter_map(|line| line.strip_prefix('/'));
    root().join(path).exists() || outputs.any(|output| Path::new(path).starts_with(output))
}

/// The project's Markdown files.
pub(crate) fn documents() -> Vec<File> {
    let entries = std::fs::read_dir(root()).unwrap();
    let names = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned());
    let at_root = names.filter(|name| name.ends_with(".md")).map(|name| File {
        text: std::fs::read_to_string(root().join(&name)).unwrap(),
        path: name,
    });
    let mut found: Vec<File> = at_root.collect();
    for folder in [
        "src", "tests", "web", "datasets", "xtask", "examples", "benches",
    ] {
        found.extend(files(folder, &[".md"]));
    }
    found
}

/// Paths of this repository in backticks; fenced blocks are left out.
///
/// A path that begins with a folder of the root must exist, and so must any path to a kind of
/// file that only the repository has. Other words with a slash are paths on the user's disk, and
/// `NAME` stands for any name.
fn prose_paths(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        let line = line.trim_start_matches(['/', '!', ' ']);
        fenced ^= line.starts_with("```");
        if fenced {
            continue;
        }
        for word in line.split('`').skip(1).step_by(2) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            let Some((first, _)) = word.split_once('/') else {
                continue;
            };
            let ours = root().join(first).is_dir() && !["target", "runs", "data"].contains(&first);
            let source = [".rs", ".wgsl"].iter().any(|ending| word.ends_with(ending));
            let literal = word.chars().all(plain) && !word.contains("NAME");
            if !first.is_empty() && literal && (ours || source) {
                paths.push(word.trim_end_matches('/').to_owned());
            }
        }
    }
    paths
}

/// Paths in the comments of a shader, from the root or from `shaders`.
fn comment_paths(text: &str) -> Vec<String> {
    let comments = text.lines().filter_map(|line| line.split_once("//"));
    let words = comments.flat_map(|(_, comment)| comment.split_whitespace());
    words
        .map(|word| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()))
        .filter(|word| word.contains('/'))
        .filter_map(|word| match word {
            _ if word.starts_with("src/") || word.starts_with("shaders/") => Some(word.to_owned()),
            _ if word.ends_with(".wgsl") => Some(format!("shaders/{word}")),
            _ => None,
        })
        .collect()
}

/// Targets of Markdown links to other files.
fn links(text: &str) -> Vec<String> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|part| part.split(')').next());
    targets
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .filter_map(|target| target.split('#').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn prose_is_read_as_meant() {
    let text = "`src/lib.rs` and `src/nothing`\n```\n`src/fenced`\n```\n`runs/demo-1`, `a b/c`, \
                `shader/relu.wgsl`, `--x`, `src/graph/`, `train/<class>/*`, `src/*.rs`, `/etc/x`, `src/NAME.rs`";
    let expected = ["src/lib.rs", "src/nothing", "shader/relu.wgsl", "src/graph"];
    assert_eq!(prose_paths(text), expected);
    let text =
        "// Host half: src/kernels/sgd.rs\nfn f() { a / lib/b.wgsl } // (see lib/step.wgsl), 1/2";
    assert_eq!(
        comment_paths(text),
        ["src/kernels/sgd.rs", "shaders/lib/step.wgsl"]
    );
    let text = "[a](https://x/y) [b](LICENSE-MIT) [c](#part) [d](web/index.html#top)";
    assert_eq!(links(text), ["LICENSE-MIT", "web/index.html"]);
}
