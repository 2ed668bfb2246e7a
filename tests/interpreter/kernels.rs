//! No kernel has a fault, in any variant, and its results are right, which shows that the interpreter
//! runs what a device would.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Code, Dependence};
use crate::host::Limits;
use crate::subjects::{stem, subjects};

/// Kernels whose accesses depend on the contents of buffers, with the reason. What is shown for them
/// holds for the contents of the samples; for all others it holds for all contents.
const DEPENDENT: &[(&str, &str)] = &[];

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
        let verdict = subject.run(&subject.codes(), &Limits::default());
        if !verdict.is_clean() {
            let difference = verdict.difference.unwrap_or_default();
            faults.push(format!("{}{difference}", verdict.report));
        }
    }
    println!("{} programs, {} kernels", subjects().len(), names.len());
    let shown = faults.iter().take(20).map(String::as_str);
    let shown: Vec<&str> = shown.collect();
    assert!(faults.is_empty(), "{} programs:\n{}", faults.len(), shown.join("\n"));

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let files = names.filter_map(|name| Some(name.strip_suffix(".wgsl")?.to_owned()));
    assert_eq!(stems, files.collect(), "stems of kernels and shader files");
}

#[test]
fn accesses_depend_on_shapes_only() {
    let mut found: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for subject in subjects() {
        for (kernel, code) in subject.job.kernels().iter().zip(subject.codes()) {
            if !code.dependences.is_empty() {
                found.entry(stem(kernel)).or_default().extend(describe(&code));
            }
        }
    }
    let listed: BTreeSet<&str> = DEPENDENT.iter().map(|(stem, _)| *stem).collect();
    let stems: BTreeSet<&str> = found.keys().copied().collect();
    assert_eq!(stems, listed, "{found:#?}");
}
