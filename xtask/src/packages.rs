//! Installing packages by the package managers of Linux distributions.

use crate::distributions::{APT_INSTALL, Family};
use crate::plan::Step;

/// The packages with Python 3 and its module venv.
pub(crate) fn python(family: &Family) -> &'static str {
    match family.names[0] {
        "arch" => "python",
        "alpine" => "python3 py3-pip",
        _ if family.install == APT_INSTALL => "python3 python3-venv",
        _ => "python3 python3-pip",
    }
}

/// The packages with Open MPI, its compiler, and libclang.
pub(crate) fn mpi(family: &Family) -> &'static str {
    match family.names[0] {
        "fedora" => "openmpi-devel clang-devel",
        "arch" => "openmpi clang",
        "suse" => "openmpi4-devel clang-devel",
        "alpine" => "openmpi openmpi-dev clang-dev",
        _ => "openmpi-bin libopenmpi-dev libclang-dev",
    }
}

/// The command lines that install packages.
pub(crate) fn way(family: &Family, packages: &str) -> Vec<Step> {
    let refresh = (family.install == APT_INSTALL).then(apt_update);
    let install = install(family.install, packages);
    refresh.into_iter().chain([install]).collect()
}

/// Installs packages; their names are separated by spaces.
pub(crate) fn install(before: &[&str], packages: &str) -> Step {
    let words: Vec<&str> = before.iter().copied().chain(packages.split(' ')).collect();
    Step::new(&words)
}

/// Updates apt's lists; may fail, because an unreachable archive need not be one that is used.
pub(crate) fn apt_update() -> Step {
    Step {
        may_fail: true,
        ..Step::new(&["apt-get", "update"])
    }
}
