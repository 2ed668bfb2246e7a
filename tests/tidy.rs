//! Checks of the source's structure, which read it as text.
//!
//! Within one crate the compiler cannot restrict which room uses which; the table of allowed
//! edges does. The other checks are on what no compiler sees: file heads, shaders that nothing
//! includes, paths in the documentation, manifests.
//! Every check reports all its findings, and fails if it has inspected nothing.

#[path = "tidy/scan.rs"]
mod scan;
#[path = "tidy/uses.rs"]
mod uses;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A room of `src`: its layer, and the rooms of lower layers it uses beside those of layer 0.
struct Room {
    name: &'static str,
    layer: usize,
    uses: Uses,
}

enum Uses {
    /// The rooms of this list.
    Only(&'static [&'static str]),
    /// All rooms of lower layers.
    AllBelow,
}

const fn room(name: &'static str, layer: usize, uses: Uses) -> Room {
    Room { name, layer, uses }
}

/// All rooms. `kernels` depends on no device and `gpu` on no operator: they share `program`.
/// `run` records what `train` emits, and `verify` and `bench` run its graphs: they are above it
/// and independent of each other.
const ROOMS: [Room; 18] = [
    room("shape", 0, Uses::Only(&[])),
    room("rng", 0, Uses::Only(&[])),
    room("program", 1, Uses::Only(&[])),
    room("graph", 1, Uses::Only(&[])),
    room("data", 1, Uses::Only(&[])),
    room("checkpoint", 1, Uses::Only(&[])),
    room("model", 2, Uses::Only(&["graph", "data"])),
    room("kernels", 2, Uses::Only(&["graph", "program"])),
    room("gpu", 2, Uses::Only(&["program"])),
    room("cpu", 2, Uses::Only(&["graph", "program"])),
    room(
        "engine",
        3,
        Uses::Only(&["graph", "program", "model", "kernels", "gpu", "cpu"]),
    ),
    room("train", 4, Uses::AllBelow),
    room("trained_model", 4, Uses::AllBelow),
    room("predict", 5, Uses::AllBelow),
    room("verify", 5, Uses::AllBelow),
    room("bench", 5, Uses::AllBelow),
    room("run", 5, Uses::Only(RUN)),
    room("cli", 6, Uses::AllBelow),
];

const RUN: &[&str] = &[
    "graph",
    "data",
    "checkpoint",
    "model",
    "kernels",
    "gpu",
    "engine",
    "train",
    "trained_model",
];

/// External crates, and the standard library's file system, that only some rooms may name.
const RESERVED: [(&str, &[&str]); 9] = [
    ("wgpu", &["gpu"]),
    ("image", &["data"]),
    ("npyz", &["checkpoint"]),
    ("safetensors", &["checkpoint"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("signal_hook", &["cli"]),
    ("pollster", &["cli"]),
    ("wasm_bindgen", &[]),
];
const FILE_SYSTEM: [&str; 4] = ["data", "checkpoint", "run", "cli"];

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

/// The room of a file of `src`; `lib` and `main` for the two roots.
fn room_of(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap_or(path);
    let first = below.split('/').next().unwrap_or(below);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn find_room(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

fn allowed(from: &Room, to: &Room) -> bool {
    let listed = match &from.uses {
        Uses::Only(names) => to.layer == 0 || names.contains(&to.name),
        Uses::AllBelow => true,
    };
    from.name == to.name || (to.layer < from.layer && listed)
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn rooms_use_only_what_lies_below() {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for file in rust_files(&["src"]) {
        let path = &file.path;
        let name = room_of(path).to_owned();
        let code = scan::code(&file.text);
        match name.as_str() {
            // `lib` declares the rooms and uses none; the binary only calls the command line.
            "lib" => {
                for used in scan::names_below(&code, "crate") {
                    problems.push(format!("{path} uses crate::{used}; it only declares rooms"));
                }
            }
            "main" => {
                for used in scan::names_below(&code, "pyr_wgpu") {
                    if used != "cli" {
                        problems.push(format!("{path} uses {used}; it may only call cli"));
                    }
                }
            }
            _ => match find_room(&name) {
                None => problems.push(format!("{path}: the room {name} is not in the table")),
                Some(room) => check_edges(room, path, &code, &mut problems),
            },
        }
        seen.insert(name);
    }
    for room in &ROOMS {
        if !seen.contains(room.name) {
            problems.push(format!(
                "the table has the room {}, src does not",
                room.name
            ));
        }
    }
    report(&problems);
}

fn check_edges(room: &Room, path: &str, code: &str, problems: &mut Vec<String>) {
    for name in scan::names_below(code, "crate") {
        match find_room(&name) {
            Some(used) if allowed(room, used) => {}
            Some(_) => problems.push(format!(
                "{path}: {} may not use {name}; move the shared part to a lower layer, or let a \
                 higher one pass it in",
                room.name
            )),
            None => problems.push(format!("{path}: crate::{name} is no room")),
        }
    }
    // `super` from the top module of a room, or through it, would be an edge that the check
    // above does not see. In the module `tests` at the end of a file, one step more stays inside.
    let depth = path.matches('/').count() - usize::from(path.ends_with("/mod.rs"));
    let (body, tests) = code.split_once("\nmod tests {").unwrap_or((code, ""));
    if scan::supers(body) >= depth || scan::supers(tests) > depth {
        problems.push(format!(
            "{path}: `super` leaves the room; write crate::room"
        ));
    }
}

#[test]
fn the_table_goes_downwards() {
    for room in &ROOMS {
        if let Uses::Only(names) = room.uses {
            for name in names {
                let used = find_room(name).unwrap_or_else(|| panic!("{name} is no room"));
                assert!(used.layer < room.layer, "{} must not use {name}", room.name);
            }
        }
    }
    let pair = |a, b| allowed(find_room(a).unwrap(), find_room(b).unwrap());
    assert!(pair("kernels", "shape") && pair("cli", "gpu") && pair("gpu", "gpu"));
    assert!(!pair("kernels", "gpu") && !pair("gpu", "graph") && !pair("graph", "model"));
    assert!(!pair("train", "predict") && !pair("run", "predict") && !pair("shape", "rng"));
}

#[test]
fn reserved_crates_stay_in_their_rooms() {
    let mut problems = Vec::new();
    let mut used = BTreeMap::new();
    for file in rust_files(&["src"]) {
        let (path, room) = (&file.path, room_of(&file.path));
        let code = scan::code(&file.text);
        for (name, rooms) in RESERVED {
            if scan::names_crate(&code, name) {
                *used.entry(name).or_insert(0) += 1;
                if !rooms.contains(&room) {
                    problems.push(format!("{path} names {name}, which is for {rooms:?} only"));
                }
            }
        }
        // A module's tests may read the files that it is about.
        let body = code.split("\nmod tests {").next().unwrap_or_default();
        let opens_files = scan::names_below(body, "std")
            .iter()
            .any(|name| name == "fs");
        if opens_files && !FILE_SYSTEM.contains(&room) {
            problems.push(format!(
                "{path} uses std::fs, which is for {FILE_SYSTEM:?} only; take a reader or bytes"
            ));
        }
    }
    assert!(
        used.contains_key("wgpu"),
        "nothing names wgpu: the check inspects nothing"
    );
    report(&problems);
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
fn no_files_use_each_other_in_circles() {
    let below = |file: &File| file.path.strip_prefix("src/").map(str::to_owned);
    let files = rust_files(&["src"]);
    let modules = files
        .iter()
        .filter(|file| file.path != "src/main.rs")
        .filter_map(|file| {
            let code = scan::code(&file.text);
            // Tests may use any file.
            let body = code.split("\nmod tests {").next().unwrap_or_default();
            Some((below(file)?, body.to_owned()))
        });
    let circles = uses::Crate::new(modules).circles();
    let problems: Vec<String> = circles
        .iter()
        .map(|circle| {
            let names: Vec<&str> = circle.iter().map(String::as_str).collect();
            format!(
                "{} use each other; move what both need to a file of its own",
                names.join(", ")
            )
        })
        .collect();
    report(&problems);
}

/// Operators whose shaders are those of another one.
const SHARED_SHADERS: [(&str, &str); 1] = [
    // The same text with reversed taps and the roles of the channels exchanged.
    ("conv2d_grad_input", "conv2d"),
];

/// Shaders of no operator.
const PROBES: &str = "probe";

/// An operator has a file of its stem in the rooms `graph::ops`, `kernels` and `cpu`, and shaders
/// of its stem: one, or one for each of its kernels, whose name follows the stem.
#[test]
fn operators_have_one_stem() {
    let mut problems = Vec::new();
    let mut stems = Vec::new();
    for file in files("src/graph/ops", &[".rs"]) {
        let stem = stem(&file.path);
        let operators = file.text.matches("\nimpl Operator for ").count();
        if operators > 1 {
            problems.push(format!("{} has {operators} operators", file.path));
        }
        if operators == 0 || stem == "mod" {
            continue;
        }
        if !file
            .text
            .contains(&format!("NAME: &'static str = \"{stem}\";"))
        {
            problems.push(format!("{}: its operator is not called {stem}", file.path));
        }
        for room in ["kernels", "cpu"] {
            let path = format!("src/{room}/{stem}.rs");
            if !root().join(&path).exists() {
                problems.push(format!("{path} does not exist"));
            }
        }
        stems.push(stem);
    }
    assert!(stems.len() > 25, "only {} operators", stems.len());
    let mut with_shader = BTreeSet::new();
    for file in files("shaders", &[".wgsl"]) {
        if file.path.starts_with("shaders/lib/") {
            continue;
        }
        let name = stem(&file.path);
        let of = |stem: &&String| name == **stem || name.starts_with(&format!("{stem}_"));
        // The longest: `conv2d_grad_weight_tiled` is no kernel of `conv2d`.
        match stems.iter().filter(of).max_by_key(|stem| stem.len()) {
            Some(stem) => {
                with_shader.insert(stem.clone());
            }
            None if name.starts_with(PROBES) => {}
            None => problems.push(format!("{} has no operator of its stem", file.path)),
        }
    }
    for stem in &stems {
        let shared = SHARED_SHADERS.iter().any(|(own, _)| own == stem);
        if !with_shader.contains(stem) && !shared {
            problems.push(format!("the operator {stem} has no shader"));
        }
    }
    report(&problems);
}

/// The name of a file without its ending.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split('.').next().unwrap_or(name).to_owned()
}

#[test]
fn every_shader_and_manifest_is_compiled_in() {
    let mut included = BTreeSet::new();
    for file in rust_files(&["src/kernels", "src/data"]) {
        let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
        for part in file.text.split("include_str!(\"").skip(1) {
            let target = part.split('"').next().unwrap_or_default();
            included.insert(resolve(folder, target));
        }
        for part in file.text.split("shader!(").skip(1) {
            let name = part.split('"').nth(1).unwrap_or_default();
            included.insert(PathBuf::from(format!("shaders/{name}.wgsl")));
        }
    }
    let wanted: Vec<File> = [files("shaders", &[".wgsl"]), files("datasets", &[".toml"])]
        .into_iter()
        .flatten()
        .collect();
    assert!(wanted.len() >= SEEN_AT_LEAST);
    let forgotten = wanted
        .iter()
        .filter(|file| !included.contains(Path::new(&file.path)));
    let problems: Vec<String> = forgotten
        .map(|file| format!("{} is included by no file of src", file.path))
        .collect();
    report(&problems);
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
fn documents() -> Vec<File> {
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
    let text = "[a](https://x/y) [b](LICENSE-MIT) [c](#part) [d](web/index.html#top)";
    assert_eq!(links(text), ["LICENSE-MIT", "web/index.html"]);
}

#[test]
fn no_file_names_a_place_on_somebodys_machine() {
    let endings = [
        ".rs", ".wgsl", ".md", ".toml", ".py", ".html", ".js", ".mjs", ".css", "run",
    ];
    let mut all = documents();
    for folder in [
        "src", "tests", "xtask", "web", "shaders", "datasets", "examples", "benches", ".ci",
    ] {
        all.extend(files(folder, &endings));
    }
    assert!(all.len() >= SEEN_AT_LEAST);
    let mut problems = Vec::new();
    for file in &all {
        // The list below would find itself; tests may name the usual place for scratch files.
        if file.path == "tests/tidy.rs" {
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
