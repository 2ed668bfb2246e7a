//! The package managers of Linux distributions and the names of their packages.

use crate::facts::Release;
use crate::plan::Step;

/// Distributions that share a package manager and its package names.
pub(crate) struct Family {
    /// `ID` or a word of `ID_LIKE` in `/etc/os-release`.
    names: &'static [&'static str],
    /// The command line before the package names.
    install: &'static [&'static str],
    /// The Vulkan loader and Mesa's software adapter.
    pub(crate) lavapipe: &'static str,
    /// Python 3 with its module venv.
    pub(crate) python: &'static str,
}

/// The command line of a non-interactive installation by apt.
pub(crate) const APT_INSTALL: [&str; 8] = [
    "env",
    "DEBIAN_FRONTEND=noninteractive",
    "apt-get",
    "install",
    "--yes",
    "--no-install-recommends",
    // Another apt may be running, as on a machine that has just started.
    "--option",
    "DPkg::Lock::Timeout=300",
];

const FAMILIES: [Family; 5] = [
    Family {
        names: &["debian", "ubuntu"],
        install: &APT_INSTALL,
        lavapipe: "libvulkan1 mesa-vulkan-drivers",
        python: "python3 python3-venv",
    },
    Family {
        names: &["fedora", "rhel", "centos"],
        install: &["dnf", "install", "--assumeyes"],
        lavapipe: "vulkan-loader mesa-vulkan-drivers",
        python: "python3 python3-pip",
    },
    Family {
        names: &["arch"],
        install: &["pacman", "-S", "--needed", "--noconfirm"],
        lavapipe: "vulkan-icd-loader vulkan-swrast",
        python: "python",
    },
    Family {
        names: &["suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed"],
        install: &["zypper", "--non-interactive", "install"],
        lavapipe: "libvulkan1 libvulkan_lvp",
        python: "python3 python3-pip",
    },
    Family {
        names: &["alpine"],
        install: &["apk", "add", "--update-cache"],
        lavapipe: "vulkan-loader mesa-vulkan-swrast",
        python: "python3 py3-pip",
    },
];

/// The family of a distribution, by its own name or that of its nearest ancestor.
pub(crate) fn family(release: &Release) -> Option<&'static Family> {
    let mut names = std::iter::once(&release.id).chain(&release.like);
    names.find_map(|name| {
        FAMILIES
            .iter()
            .find(|family| family.names.contains(&name.as_str()))
    })
}

impl Family {
    /// The command lines that install packages.
    pub(crate) fn way(&self, packages: &str) -> Vec<Step> {
        let refresh = self.names.contains(&"debian").then(apt_update);
        let install = install(self.install, packages);
        refresh.into_iter().chain([install]).collect()
    }
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
