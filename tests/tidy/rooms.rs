//! Dependencies between the rooms of `src`, their files, and external crates.

use std::collections::{BTreeMap, BTreeSet};

use crate::{File, report, rust_files, scan, uses};

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
const ROOMS: [Room; 24] = [
    room("shape", 0, Uses::Only(&[])),
    room("rng", 0, Uses::Only(&[])),
    room("files", 0, Uses::Only(&[])),
    room("memory", 0, Uses::Only(&[])),
    room("text", 0, Uses::Only(&[])),
    room("ranks", 1, Uses::Only(&[])),
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
    room(
        "selftest",
        5,
        Uses::Only(&["graph", "program", "kernels", "gpu", "engine"]),
    ),
    room("onnx", 5, Uses::AllBelow),
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
const RESERVED: [(&str, &[&str]); 22] = [
    ("wgpu", &["gpu"]),
    ("mpi", &["ranks"]),
    ("image", &["data"]),
    ("gif", &["data"]),
    ("image_webp", &["data"]),
    ("jpeg_decoder", &["data"]),
    ("png", &["data"]),
    ("safetensors", &["checkpoint"]),
    ("pytorch_reader", &["checkpoint"]),
    ("zip", &["checkpoint"]),
    ("prost", &["checkpoint", "onnx"]),
    ("clap", &["cli"]),
    ("ureq", &["cli"]),
    ("sha2", &["cli"]),
    ("tar", &["cli"]),
    ("glob", &["cli"]),
    ("flate2", &["cli"]),
    ("indicatif", &["cli"]),
    ("signal_hook", &["cli"]),
    ("libc", &["cli"]),
    ("pollster", &["cli"]),
    ("wasm_bindgen", &[]),
];
/// `memory` reads what Linux says in files.
const FILE_SYSTEM: [&str; 6] = ["files", "memory", "data", "checkpoint", "run", "cli"];

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
