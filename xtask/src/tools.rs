//! Installations besides the adapter: Rust components, and programs that only the tests use.

use crate::distributions::family;
use crate::facts::Facts;
use crate::packages::{self, python, way};
use crate::plan::{Step, Task};

/// Programs that some checks need. If one cannot be installed, the checks that need it report that
/// it is missing, and the others run.
pub(crate) fn test_programs(facts: &Facts) -> Vec<Task> {
    let Some(family) = facts.linux.as_ref().and_then(family) else {
        return Vec::new();
    };
    let page = "The tests of the browser page need";
    let tools = "The checks of spelling and dependencies need";
    let wanted = [
        (
            facts.python,
            tools,
            "Python 3 with its module venv",
            python(family),
        ),
        (facts.chromium, page, "Chromium", "chromium"),
        (facts.node, page, "Node.js and npm", "nodejs npm"),
    ];
    let missing = wanted.into_iter().filter(|(present, ..)| !present);
    let task = |(_, user, program, packages): (bool, &str, &str, &str)| Task {
        reason: format!("{user} {program}; the system's package manager will install {packages}."),
        root: true,
        required: false,
        ways: vec![way(family, packages)],
    };
    missing.map(task).collect()
}

/// What the feature `mpi` needs.
///
/// # Errors
/// If it is missing and cannot be installed from here.
pub(crate) fn mpi(facts: &Facts) -> Result<Option<Task>, String> {
    if facts.mpi {
        return Ok(None);
    }
    let what = "an MPI with `mpicc` and `mpirun`, or the library libclang";
    let Some(family) = facts.linux.as_ref().and_then(family) else {
        return Err(format!(
            "This machine lacks {what}; install Open MPI or MPICH and LLVM's libclang, then run this \
             again"
        ));
    };
    let packages = packages::mpi(family);
    Ok(Some(Task {
        reason: format!(
            "This machine lacks {what}; the system's package manager will install {packages}. If \
             `mpicc` is not found after that, load the module of your distribution, as in `module \
             load mpi`."
        ),
        root: true,
        required: true,
        ways: vec![way(family, packages)],
    }))
}

/// A part of Rust that a plain installation lacks.
pub(crate) struct Part {
    present: fn(&Facts) -> bool,
    /// What it is and what it is for.
    what: &'static str,
    /// Kind and names of the part in rustup's terms.
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

/// Installs the missing ones among these parts.
pub(crate) fn rust(facts: &Facts, parts: &[Part]) -> Result<Vec<Task>, String> {
    let missing = parts.iter().filter(|part| !(part.present)(facts));
    let task = |part: &Part| {
        let Part {
            what, kind, names, ..
        } = part;
        if !facts.rustup {
            return Err(format!(
                "Rust lacks {what} and there is no rustup to install it; install Rust with \
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
