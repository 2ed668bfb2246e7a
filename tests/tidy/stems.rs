//! Files of one operator, and of one kernel, have one stem.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::{File, SEEN_AT_LEAST, files, report, resolve, root, rust_files};

/// Operators whose shaders are those of another one.
const SHARED_SHADERS: [(&str, &str); 1] = [
    // The same text with reversed taps and the roles of the channels exchanged.
    ("conv2d_grad_input", "conv2d"),
];

/// Operators that the host computes between two parts of a run.
const ON_THE_HOST: [&str; 1] = ["all_reduce"];

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
        if operators == 0 || stem == "mod" || ON_THE_HOST.contains(&&*stem) {
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
