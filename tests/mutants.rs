//! Whether the kernel tests notice faults: mutants of the shaders, each with one operator, number
//! or statement changed, must fail the tests of `tests/kernels.rs`.
//!
//! `PYR_WGPU_TEST_MUTANTS` is the number of mutants that are drawn; survivors are printed.

mod common;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use common::functions::functions;
use pyr_wgpu::engine::Device;
use pyr_wgpu::graph::Op;
use pyr_wgpu::graph::ops::Sample;
use pyr_wgpu::program::Program;
use pyr_wgpu::rng::{Purpose, Stream};
use pyr_wgpu::selftest::{Change, Check};

/// Share of the mutants that must be caught. Not all can be: some are equivalent to the original.
const LEAST_CAUGHT: f64 = 0.8;

/// Maximum number of tests of other kernels that are tried on a mutant.
const MOST_OTHERS: usize = 24;

/// Whether a check fails with a mutant, or without one.
fn fails(check: &Check<'_>, device: &Device, mutant: Option<&Mutant>) -> bool {
    let change = |program: &mut Program| {
        for kernel in &mut program.kernels {
            if let Some(text) = mutant.and_then(|mutant| mutant.apply(&kernel.source)) {
                kernel.source = text.into();
            }
        }
    };
    let change = Some(&change as Change<'_>);
    let run = || pollster::block_on(check.run(device, change)).is_err();
    // A wrong result can also be one that the check cannot read.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(true)
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

/// All mutants of a function. So that each loop ends, the heads of `for` loops keep their operators,
/// and other loops are left out.
fn mutants(function: &str, body: &str) -> Vec<Mutant> {
    let mut all = Vec::new();
    let mut end_of_loop = None;
    for line in body.split_inclusive('\n') {
        let code = line.split("//").next().unwrap_or_default();
        let trimmed = code.trim();
        let indent = &code[..code.len() - code.trim_start().len()];
        if ["while ", "loop "]
            .iter()
            .any(|word| trimmed.starts_with(word))
        {
            end_of_loop.get_or_insert(format!("{indent}}}"));
        }
        if let Some(end) = &end_of_loop {
            if code.trim_end() == end {
                end_of_loop = None;
            }
            continue;
        }
        let mut replace = |at: usize, length: usize, new: &str| {
            let changed = [&line[..at], new, &line[at + length..]].concat();
            all.push(Mutant {
                function: function.to_owned(),
                lines: [line.to_owned(), changed],
            });
        };
        let inside = code.starts_with("    ") && !trimmed.contains('@');
        if inside && !trimmed.starts_with("for ") {
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

/// The checks, and which kernels and functions they reach.
struct Suite<'a> {
    tests: Vec<Check<'a>>,
    /// The text of each kernel, and the tests that run it.
    kernels: BTreeMap<String, (Arc<str>, Vec<usize>)>,
    /// The kernels that reach each function. Entry points have the stems of their files.
    users: BTreeMap<String, Vec<String>>,
}

impl<'a> Suite<'a> {
    fn new(samples: &'a [Sample], device: &Device) -> Suite<'a> {
        let mut suite = Suite {
            tests: Check::all(samples, device),
            kernels: BTreeMap::new(),
            users: BTreeMap::new(),
        };
        for (at, test) in suite.tests.iter().enumerate() {
            for kernel in test.kernels(device) {
                let new = (kernel.source, Vec::new());
                suite.kernels.entry(kernel.name).or_insert(new).1.push(at);
            }
        }
        for (name, (source, _)) in &suite.kernels {
            for function in functions(source).into_keys() {
                let key = match function.as_str() {
                    "main" => name.split(' ').next().unwrap_or_default(),
                    function => function,
                };
                suite
                    .users
                    .entry(key.to_owned())
                    .or_default()
                    .push(name.clone());
            }
        }
        suite
    }

    /// A mutant of a function, and the kernel that it was drawn from; `None` if the draw gave no
    /// valid one.
    fn draw(&self, function: &str, random: &mut Stream) -> Option<(Mutant, &str)> {
        let name = pick(&self.users[function], random);
        let (source, _) = &self.kernels[name];
        let reached = functions(source);
        let own = if reached.contains_key(function) {
            function
        } else {
            "main"
        };
        let all = mutants(own, &source[reached[own].clone()]);
        let mutant = (!all.is_empty()).then(|| pick(&all, random).clone())?;
        mutant.apply(source)?;
        Some((mutant, name))
    }

    /// The tests of a kernel, then some of other kernels with the function, one for each sample.
    fn tests_of(&self, function: &str, name: &str, random: &mut Stream) -> Vec<&Check<'a>> {
        let test = |at: &usize| &self.tests[*at];
        let mut chosen: Vec<_> = self.kernels[name].1.iter().map(test).collect();
        let others = self.users[function].iter().filter(|other| *other != name);
        let mut others: Vec<_> = others
            .flat_map(|other| self.kernels[other].1.iter().map(test))
            .collect();
        let most = chosen.len() + MOST_OTHERS;
        while chosen.len() < most && !others.is_empty() {
            let other = others.swap_remove(random.below(others.len() as u32) as usize);
            if chosen.iter().all(|test| address(test) != address(other)) {
                chosen.push(other);
            }
        }
        chosen
    }
}

/// The sample of a check, by its address.
fn address(check: &Check<'_>) -> Option<*const Sample> {
    check.sample().map(std::ptr::from_ref)
}

fn pick<'a, T>(list: &'a [T], random: &mut Stream) -> &'a T {
    &list[random.below(list.len() as u32) as usize]
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
    let suite = Suite::new(&samples, device);
    let all: Vec<&String> = suite.users.keys().collect();
    assert!(all.len() > 80, "only {} functions", all.len());

    let random = &mut Stream::new(0, Purpose::Initialise, 0, 0);
    let [mut drawn, mut caught] = [0, 0];
    while drawn < count {
        let function = pick(&all, random);
        let Some((mutant, name)) = suite.draw(function, random) else {
            continue;
        };
        let tests = suite.tests_of(function, name, random);
        drawn += 1;
        match tests.iter().any(|test| fails(test, device, Some(&mutant))) {
            true => {
                caught += 1;
                // The mutant failed, not the device.
                assert!(
                    !fails(tests[0], device, None),
                    "{name} fails without a mutant"
                );
            }
            false => {
                let [before, after] = mutant.lines.each_ref().map(|line| line.trim());
                println!("survived: {function} in {name}:\n    {before}\n    {after}");
            }
        }
    }
    let share = caught as f64 / drawn as f64;
    println!("{caught} of {drawn} mutants caught: {share:.3}");
    assert!(share >= LEAST_CAUGHT, "{share}");
}
