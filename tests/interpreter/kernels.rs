//! No kernel has a fault, in any variant, and its results are right, which shows that the interpreter
//! runs what a device would.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Code, Dependence};
use crate::host::Options;
use crate::subjects::{stem, subjects};

/// Kernels whose accesses depend on the contents of buffers, with the reason. What is shown for them
/// holds for the contents of the samples; for all others it holds for all contents.
const DEPENDENT: &[(&str, &str)] = &[
    (
        "adjust_loss_scale",
        "One invocation does everything; the flag of an overflow decides which words it updates.",
    ),
    (
        "assemble_batch",
        "Indices of images, and offsets of crops drawn from the seed in the step, select what is \
         read. An invocation writes its own vector.",
    ),
    (
        "average_weights",
        "A step that has overflowed updates nothing. An invocation updates its own vector.",
    ),
    (
        "count_metrics",
        "Losses of rows that do not count are not read, and one invocation updates the metrics.",
    ),
    (
        "find_overflow",
        "Only invocations with a gradient that is not finite set the flag, all by the same atomic \
         operation.",
    ),
    (
        "mix_batch",
        "The contents select the image to mix with. An invocation writes its own vector.",
    ),
    (
        "sgd",
        "After a NaN, and in a step that has overflowed, nothing is updated. An invocation updates \
         its own vector; all set the metrics by atomic maxima.",
    ),
    (
        "softmax_cross_entropy",
        "Labels select logits. An invocation writes the words of its own row.",
    ),
    (
        "softmax_cross_entropy_grad",
        "Rows that do not count have no gradient. An invocation writes its own row.",
    ),
    (
        "transform_images",
        "The kind of a transform selects what is computed, and colours select entries of the \
         histogram, which grow by atomic additions, and of the table, which barriers separate from \
         its writes. The samples have every kind.",
    ),
];

/// How a kernel depends on the contents of buffers, for messages.
fn describe(code: &Code) -> BTreeSet<String> {
    let line = |dependence: &Dependence| match dependence {
        Dependence::Address(line) => format!("address: {}", code.lines[*line as usize]),
        Dependence::Control(line) => format!("control: {}", code.lines[*line as usize]),
    };
    code.dependences.iter().map(line).collect()
}

#[test]
fn no_kernel_has_a_fault() {
    let mut stems = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut faults = Vec::new();
    for subject in subjects() {
        let kernels = subject.job.kernels().iter();
        names.extend(kernels.clone().map(|kernel| &kernel.name));
        stems.extend(kernels.map(|kernel| stem(kernel).to_owned()));
        let verdict = subject.run(&subject.codes(), &Options::default());
        if !verdict.is_clean() {
            let difference = verdict.difference.unwrap_or_default();
            faults.push(format!("{}{difference}", verdict.report));
        }
    }
    println!("{} programs, {} kernels", subjects().len(), names.len());
    let shown = faults.iter().take(20).map(String::as_str);
    let shown: Vec<&str> = shown.collect();
    assert!(
        faults.is_empty(),
        "{} programs:\n{}",
        faults.len(),
        shown.join("\n")
    );

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let files = names.filter_map(|name| Some(name.strip_suffix(".wgsl")?.to_owned()));
    assert_eq!(stems, files.collect(), "stems of kernels and shader files");
}

/// Grids of more than 65,535 workgroups have several rows, and workgroups past the end.
#[test]
fn workgroups_are_numbered_row_by_row() {
    let options = Options {
        two_rows: true,
        ..Options::default()
    };
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for subject in subjects()
        .iter()
        .rev()
        .filter(|subject| subject.job.has_rows())
    {
        let kernels = subject.job.kernels().iter();
        let few = kernels.filter(|kernel| {
            let count = counts.entry(stem(kernel)).or_default();
            *count += 1;
            *count <= 5
        });
        if few.count() > 0 {
            let verdict = subject.run(&subject.codes(), &options);
            let difference = verdict.difference.unwrap_or_default();
            let report = verdict.report;
            assert!(
                report.is_empty() && difference.is_empty(),
                "{report}{difference}"
            );
        }
    }
    assert!(counts.len() > 20, "{counts:?}");
}

#[test]
fn accesses_depend_on_shapes_only() {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for subject in subjects() {
        for (kernel, code) in subject.job.kernels().iter().zip(subject.codes()) {
            if !code.dependences.is_empty() {
                found
                    .entry(stem(kernel))
                    .or_default()
                    .extend(describe(&code));
            }
        }
    }
    let listed: BTreeSet<&str> = DEPENDENT.iter().map(|(stem, _)| *stem).collect();
    let stems: BTreeSet<&str> = found.keys().copied().collect();
    assert_eq!(stems, listed, "{found:#?}");
}
