//! Whether the kernel tests notice faults: mutants of the shaders, each with one operator, number
//! or statement changed, must fail the tests of `tests/kernels.rs`.
//!
//! `PYR_WGPU_TEST_MUTANTS` is the number of mutants that are drawn; survivors are printed.

mod common;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use common::halves::Halves;
use common::kernel::{Case, Change, stands};
use common::pair::{self, Pair};
use pyr_wgpu::engine::Device;
use pyr_wgpu::graph::Op;
use pyr_wgpu::graph::ops::Sample;
use pyr_wgpu::kernels::{self, Choices};
use pyr_wgpu::program::{Kernel, Program};
use pyr_wgpu::rng::{Purpose, Stream};

/// Share of the mutants that must be caught. Not all can be: some are equivalent to the original.
const SHARE: f64 = 0.8;

/// At most so many tests are tried on a mutant besides those of the kernel that it was drawn from.
const OTHERS: usize = 24;

/// A test of some kernels.
enum Trial<'a> {
    Case(&'a Sample, Case, Choices),
    Pair(&'a Sample, Pair, Choices),
    Halves(Halves),
}

impl<'a> Trial<'a> {
    /// All trials of a sample.
    fn of(sample: &'a Sample, device: &Device) -> Vec<Trial<'a>> {
        let mut trials = Vec::new();
        let single = Case::new(&sample.op, &sample.inputs);
        for choices in single.variants(device) {
            trials.push(Trial::Case(sample, single.clone(), choices));
        }
        if let Some(half) = Case::half(&sample.op, &sample.inputs) {
            for choices in half.variants(device).into_iter().filter(stands) {
                trials.push(Trial::Case(sample, half.clone(), choices));
            }
        }
        for pair in [false, true]
            .into_iter()
            .filter_map(|half| Pair::new(sample, half))
        {
            let trial = |choices| Trial::Pair(sample, pair.clone(), choices);
            trials.extend(pair::choices().map(trial));
        }
        trials
    }

    /// The sample, by its address.
    fn sample(&self) -> Option<*const Sample> {
        match self {
            Trial::Case(sample, ..) | Trial::Pair(sample, ..) => Some(*sample as *const Sample),
            Trial::Halves(_) => None,
        }
    }

    /// The kernels that it tests; none if the device cannot run it.
    fn kernels(&self, device: &Device) -> Vec<Kernel> {
        let default = Choices::default();
        let (graph, choices) = match self {
            Trial::Case(_, case, choices) => (case.graph(), choices),
            Trial::Pair(_, pair, choices) => (pair.graph(), choices),
            Trial::Halves(halves) => (halves.graph(), &default),
        };
        let lowered = kernels::lower(graph, &device.target(), choices);
        lowered.map_or_else(|_| Vec::new(), |lowered| lowered.program.kernels)
    }

    /// Whether the test fails with a mutant.
    fn catches(&self, device: &Device, mutant: &Mutant) -> bool {
        let change = |program: &mut Program| {
            for kernel in &mut program.kernels {
                if let Some(text) = mutant.apply(&kernel.source) {
                    kernel.source = text.into();
                }
            }
        };
        let change = Some(&change as Change<'_>);
        let run = || match self {
            Trial::Case(sample, case, choices) => {
                pollster::block_on(case.check(device, sample, choices, change)).is_err()
            }
            Trial::Pair(sample, pair, choices) => {
                pair.check(device, sample, choices, change).is_err()
            }
            Trial::Halves(halves) => pollster::block_on(halves.check(device, change)).is_err(),
        };
        // A wrong result can also be one that the test cannot read.
        catch_unwind(AssertUnwindSafe(run)).unwrap_or(true)
    }
}

/// A change of a line in a function, in every kernel that has it.
#[derive(Clone)]
struct Mutant {
    function: String,
    /// The line before and after.
    lines: [String; 2],
}

impl Mutant {
    /// The changed text of a kernel that runs the function and has the line.
    fn apply(&self, source: &str) -> Option<String> {
        let [before, after] = &self.lines;
        let body = functions(source).remove(&self.function)?;
        let text = &source[body.clone()];
        let changed = text.replace(before, after);
        let valid = |text: &String| *text != source && is_valid(text);
        Some([&source[..body.start], &changed, &source[body.end..]].concat()).filter(valid)
    }
}

/// The functions of a kernel that its entry point reaches, with the ranges of their text.
fn functions(source: &str) -> BTreeMap<String, Range<usize>> {
    let mut all = BTreeMap::new();
    for (start, _) in source.match_indices("fn ") {
        let is_first = start == 0 || source[..start].ends_with(['\n', ' ']);
        let length = source[start..].find("\n}\n").map(|length| length + 3);
        if let (true, Some(length)) = (is_first, length) {
            let name = source[start + 3..].split('(').next().unwrap_or_default();
            all.insert(name.to_owned(), start..start + length);
        }
    }
    let mut reached = BTreeMap::new();
    let mut next = vec!["main".to_owned()];
    while let Some(name) = next.pop() {
        let Some(range) = all.remove(&name) else {
            continue;
        };
        let called = |other: &&String| source[range.clone()].contains(&format!("{other}("));
        next.extend(all.keys().filter(called).cloned());
        reached.insert(name, range);
    }
    reached
}

/// Operators between blanks, and what replaces them.
const OPERATORS: &[(&str, &str)] = &[
    ("+", "-"),
    ("-", "+"),
    ("*", "+"),
    ("/", "*"),
    ("%", "/"),
    ("<", "<="),
    ("<=", "<"),
    (">", ">="),
    (">=", ">"),
    ("==", "!="),
    ("!=", "=="),
    ("&&", "||"),
    ("||", "&&"),
    ("&", "|"),
    ("|", "&"),
    ("^", "|"),
    ("<<", ">>"),
    (">>", "<<"),
    ("+=", "-="),
    ("-=", "+="),
    ("*=", "+="),
    ("/=", "*="),
];

/// Functions, and what replaces them.
const FUNCTIONS: &[(&str, &str)] = &[("min(", "max("), ("max(", "min(")];

/// All mutants of a function. The conditions and steps of loops keep their operators, so that each
/// loop ends.
fn mutants(function: &str, body: &str) -> Vec<Mutant> {
    let mut all = Vec::new();
    for line in body.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or_default();
        let trimmed = code.trim();
        let mut replace = |at: usize, length: usize, new: &str| {
            let changed = [&line[..at], new, &line[at + length..]].concat();
            all.push(Mutant {
                function: function.to_owned(),
                lines: [line.to_owned(), changed],
            });
        };
        let inside = code.starts_with("    ") && !trimmed.contains('@');
        let is_loop = ["for ", "while ", "loop "]
            .iter()
            .any(|word| trimmed.starts_with(word));
        if inside && !is_loop {
            for (operator, new) in OPERATORS {
                let spaced = format!(" {operator} ");
                for (at, _) in code.match_indices(&spaced) {
                    // Unrolled loops add and multiply zeros.
                    let [left, right] = [&code[..at], &code[at + spaced.len()..]];
                    if !left.ends_with("0u") && !right.starts_with("0u") && !code.contains("(0u)") {
                        replace(at + 1, operator.len(), new);
                    }
                }
            }
            let is_declaration = trimmed.starts_with("let ") || trimmed.starts_with("var ");
            let is_assignment = trimmed.ends_with(';') && trimmed.contains('=') && !is_declaration;
            if is_assignment {
                let at = code.len() - code.trim_start().len();
                replace(at, trimmed.len(), "");
            }
        }
        if inside {
            for (function, new) in FUNCTIONS {
                for (at, _) in code.match_indices(function) {
                    let before = code[..at].chars().next_back();
                    if !before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
                        replace(at, function.len(), new);
                    }
                }
            }
            for (at, number) in numbers(code) {
                let next = match number.parse::<u32>() {
                    Ok(integer) => (integer + 1).to_string(),
                    Err(_) => format!("{:?}", number.parse::<f64>().unwrap() + 1.0),
                };
                replace(at, number.len(), &next);
            }
        }
    }
    all
}

/// The decimal numbers of a line, without suffixes, with their places.
fn numbers(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len());
        let number = rest[..length].trim_end_matches(['u', 'i', 'f']);
        let is_number = number.starts_with(|c: char| c.is_ascii_digit());
        if is_number && number.parse::<f64>().is_ok_and(f64::is_finite) {
            found.push((at, number));
        }
        at += length.max(1);
        while !code.is_char_boundary(at) {
            at += 1;
        }
    }
    found
}

/// Whether naga accepts a text.
fn is_valid(text: &str) -> bool {
    let mut validator = naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::all(),
    );
    let module = naga::front::wgsl::parse_str(text);
    module.is_ok_and(|module| validator.validate(&module).is_ok())
}

#[test]
fn mutants_of_kernels_are_caught() {
    // Out-of-bounds accesses of mutants must not end the process.
    let Some(device) = common::checked_gpu() else {
        return;
    };
    let count = std::env::var("PYR_WGPU_TEST_MUTANTS");
    let count: usize = count.map_or(30, |count| count.parse().expect("a number of mutants"));
    let samples = Op::samples();
    let of_samples = samples.iter().flat_map(|sample| Trial::of(sample, device));
    let trials: Vec<Trial> = of_samples.chain([Trial::Halves(Halves::new())]).collect();

    // The text of each kernel, and its trials.
    let mut kernels: BTreeMap<String, (Arc<str>, Vec<usize>)> = BTreeMap::new();
    for (at, trial) in trials.iter().enumerate() {
        for kernel in trial.kernels(device) {
            let (_, users) = kernels
                .entry(kernel.name)
                .or_insert((kernel.source, Vec::new()));
            users.push(at);
        }
    }
    // The kernels that reach each function.
    let mut users_of: BTreeMap<String, Vec<&String>> = BTreeMap::new();
    for (name, (source, _)) in &kernels {
        for function in functions(source).into_keys() {
            // Entry points are different functions.
            let key = match function.as_str() {
                "main" => name.split(' ').next().unwrap_or_default(),
                function => function,
            };
            users_of.entry(key.to_owned()).or_default().push(name);
        }
    }
    assert!(users_of.len() > 80, "only {} functions", users_of.len());

    let mut stream = Stream::new(0, Purpose::Initialise, 0, 0);
    let mut below = |bound: usize| stream.below(bound as u32) as usize;
    let functions_drawn: Vec<_> = users_of.iter().collect();
    let [mut drawn, mut caught] = [0, 0];
    while drawn < count {
        let (key, users) = functions_drawn[below(users_of.len())];
        let name = users[below(users.len())];
        let (source, own) = &kernels[name];
        let reached = functions(source);
        let function = if reached.contains_key(key) {
            key
        } else {
            "main"
        };
        let all = mutants(function, &source[reached[function].clone()]);
        if all.is_empty() {
            continue;
        }
        let mutant = &all[below(all.len())];
        if mutant.apply(source).is_none() {
            continue;
        }
        // The tests of the kernel, and of others that have the line.
        let mut others: Vec<usize> = users
            .iter()
            .filter(|other| **other != name)
            .flat_map(|other| kernels[*other].1.iter().copied())
            .collect();
        let mut tried = own.clone();
        for _ in 0..others.len() {
            let other = others.swap_remove(below(others.len()));
            // One test of each sample.
            let sample = trials[other].sample();
            let is_new = tried.iter().all(|at| trials[*at].sample() != sample);
            if is_new && tried.len() < own.len() + OTHERS {
                tried.push(other);
            }
        }
        drawn += 1;
        match tried.iter().any(|at| trials[*at].catches(device, mutant)) {
            true => caught += 1,
            false => {
                let [before, after] = mutant.lines.each_ref().map(|line| line.trim());
                eprintln!("survived: {key} in {name}:\n    {before}\n    {after}");
            }
        }
    }
    let share = caught as f64 / drawn as f64;
    eprintln!("{caught} of {drawn} mutants caught: {share:.3}");
    assert!(share >= SHARE, "{share}");
}
