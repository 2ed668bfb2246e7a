//! What is planned besides the adapter: parts of Rust, Python for PyTorch, a browser for the
//! tests of the page.

use crate::facts::Facts;
use crate::packages::{Family, family};
use crate::plan::{Step, Task};

/// Python, and what `torch.compile` builds with; without the latter only that peer is missing.
pub(crate) fn python(facts: &Facts) -> Result<Vec<Task>, String> {
    let family = facts.linux.as_ref().and_then(family);
    let mut tasks = Vec::new();
    if !facts.python {
        let missing = "PyTorch needs Python 3 with its module venv, which is missing";
        let Some(family) = family else {
            return Err(format!(
                "{missing}; install it, by https://www.python.org or your package manager, then \
                 run this again, or compare with other peers: --peers burn"
            ));
        };
        tasks.push(system_packages(missing, family.python, true, family));
    }
    if let (false, Some(family)) = (facts.python_compiler, family) {
        let missing = "torch.compile needs a C++ compiler and Python's header files";
        tasks.push(system_packages(
            missing,
            family.python_compiler,
            false,
            family,
        ));
    }
    Ok(tasks)
}

fn system_packages(missing: &str, packages: &str, required: bool, family: &Family) -> Task {
    Task {
        reason: format!("{missing}; the system's package manager will install {packages}."),
        root: true,
        required,
        ways: vec![family.way(packages)],
    }
}

/// What the page is tested with. Where it cannot be installed the rest is tested all the same,
/// and the page's tests say what is missing.
pub(crate) fn browser(facts: &Facts) -> Vec<Task> {
    let wanted = [
        (facts.chromium, "Chromium", "chromium"),
        (facts.node, "Node.js and npm", "nodejs npm"),
    ];
    let family = facts.linux.as_ref().and_then(family);
    let missing = wanted.iter().filter(|(present, ..)| !present);
    let tasks = family.into_iter().flat_map(|family| {
        missing.clone().map(|(_, what, packages)| {
            let missing = format!("The tests of the browser page need {what}");
            system_packages(&missing, packages, false, family)
        })
    });
    tasks.collect()
}

/// A part of Rust that a plain installation lacks.
pub(crate) struct Part {
    present: fn(&Facts) -> bool,
    /// What it is, and what for.
    what: &'static str,
    /// What rustup calls such parts, and this one.
    kind: &'static str,
    names: &'static [&'static str],
}

pub(crate) const LINT_TOOLS: Part = Part {
    present: |facts| facts.lint_tools,
    what: "rustfmt and clippy, which check the source,",
    kind: "component",
    names: &["clippy", "rustfmt"],
};

pub(crate) const WASM_TARGET: Part = Part {
    present: |facts| facts.wasm_target,
    what: "the target wasm32-unknown-unknown, which the browser page is compiled for,",
    kind: "target",
    names: &["wasm32-unknown-unknown"],
};

/// Some parts of Rust.
pub(crate) fn rust(facts: &Facts, parts: &[Part]) -> Result<Vec<Task>, String> {
    let missing = parts.iter().filter(|part| !(part.present)(facts));
    let task = |part: &Part| {
        let Part {
            what, kind, names, ..
        } = part;
        if !facts.rustup {
            return Err(format!(
                "Rust lacks {what} and there is no rustup to install it; install Rust by \
                 https://rustup.rs, or your distribution's package with the {kind} {}",
                names.join(" and ")
            ));
        }
        let add = [&["rustup", kind, "add"], *names].concat();
        Ok(Task {
            reason: format!("Rust lacks {what} and rustup will install it."),
            root: false,
            required: true,
            ways: vec![vec![Step::new(&add)]],
        })
    };
    missing.map(task).collect()
}
