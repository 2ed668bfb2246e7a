//! The package managers of Linux distributions, and the names of the packages with Vulkan drivers.
//! Shared with `xtask`.

/// A Linux distribution as `/etc/os-release` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Release {
    /// `ID`, such as `debian`.
    pub(super) id: String,
    /// `ID_LIKE`: the distributions that this one derives from, nearest first.
    pub(super) like: Vec<String>,
    /// `VERSION_CODENAME`, such as `bookworm`.
    pub(super) codename: String,
}

impl Release {
    /// Reads the `KEY=value` lines of os-release; values may be quoted.
    pub(super) fn parse(text: &str) -> Release {
        let value = |wanted: &str| {
            let line = text.lines().filter_map(|line| line.trim().split_once('='));
            line.filter(|(key, _)| *key == wanted)
                .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
                .next_back()
                .unwrap_or_default()
        };
        Release {
            id: value("ID"),
            like: value("ID_LIKE")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            codename: value("VERSION_CODENAME"),
        }
    }
}

/// Distributions that share a package manager and its package names; several names are separated
/// by spaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Family {
    /// `ID` or a word of `ID_LIKE` in `/etc/os-release`.
    pub(super) names: &'static [&'static str],
    /// The command line of a non-interactive installation, before the package names.
    pub(super) install: &'static [&'static str],
    /// The command that a user types.
    pub(super) command: &'static str,
    /// The Vulkan loader.
    pub(super) loader: &'static str,
    /// Mesa's software adapter.
    pub(super) lavapipe: &'static str,
    /// Mesa's drivers for AMD's and Intel's GPUs.
    pub(super) amd: &'static str,
    pub(super) intel: &'static str,
    /// NVIDIA's Vulkan driver, which needs the kernel module of the same version; `None` where the
    /// distribution has none.
    pub(super) nvidia: Option<&'static str>,
}

/// The command line of a non-interactive installation by apt.
pub(super) const APT_INSTALL: [&str; 8] = [
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

const FAMILIES: [Family; 6] = [
    Family {
        names: &["ubuntu"],
        // The packages of NVIDIA's driver end with its major version.
        nvidia: Some("libnvidia-gl-MAJOR"),
        ..DEBIAN
    },
    DEBIAN,
    Family {
        names: &["fedora", "rhel", "centos"],
        install: &["dnf", "install", "--assumeyes"],
        command: "dnf install",
        loader: "vulkan-loader",
        lavapipe: "mesa-vulkan-drivers",
        amd: "mesa-vulkan-drivers",
        intel: "mesa-vulkan-drivers",
        // From RPM Fusion.
        nvidia: Some("xorg-x11-drv-nvidia-libs"),
    },
    Family {
        names: &["arch"],
        install: &["pacman", "-S", "--needed", "--noconfirm"],
        command: "pacman -S",
        loader: "vulkan-icd-loader",
        lavapipe: "vulkan-swrast",
        amd: "vulkan-radeon",
        intel: "vulkan-intel",
        nvidia: Some("nvidia-utils"),
    },
    Family {
        names: &["suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed"],
        install: &["zypper", "--non-interactive", "install"],
        command: "zypper install",
        loader: "libvulkan1",
        lavapipe: "libvulkan_lvp",
        amd: "libvulkan_radeon",
        intel: "libvulkan_intel",
        nvidia: Some("nvidia-gl-G06"),
    },
    Family {
        names: &["alpine"],
        install: &["apk", "add", "--update-cache"],
        command: "apk add",
        loader: "vulkan-loader",
        lavapipe: "mesa-vulkan-swrast",
        amd: "mesa-vulkan-ati",
        intel: "mesa-vulkan-intel",
        nvidia: None,
    },
];

const DEBIAN: Family = Family {
    names: &["debian"],
    install: &APT_INSTALL,
    command: "apt-get install",
    loader: "libvulkan1",
    lavapipe: "mesa-vulkan-drivers",
    amd: "mesa-vulkan-drivers",
    intel: "mesa-vulkan-drivers",
    // In the section non-free.
    nvidia: Some("nvidia-vulkan-icd"),
};

/// The family of a distribution, by its own name or that of its nearest ancestor.
pub(super) fn family(release: &Release) -> Option<&'static Family> {
    let mut names = std::iter::once(&release.id).chain(&release.like);
    names.find_map(|name| {
        FAMILIES
            .iter()
            .find(|family| family.names.contains(&name.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\n\
                    VERSION_CODENAME=bookworm\nID=debian\nHOME_URL=\"https://a/?ID=x\"\n";
        let release = Release::parse(text);
        assert_eq!(
            (release.id.as_str(), release.codename.as_str()),
            ("debian", "bookworm")
        );
        assert!(release.like.is_empty());
        let suse = Release::parse("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n");
        assert_eq!(suse.id, "opensuse-leap");
        assert_eq!(suse.like, ["suse", "opensuse"]);
        assert_eq!(Release::parse(""), Release::default());
    }

    #[test]
    fn a_derived_distribution_has_the_packages_of_its_ancestor() {
        let family = |text: &str| family(&Release::parse(text)).map(|family| family.names[0]);
        assert_eq!(
            family("ID=linuxmint\nID_LIKE=\"ubuntu debian\""),
            Some("ubuntu")
        );
        assert_eq!(family("ID=raspbian\nID_LIKE=debian"), Some("debian"));
        assert_eq!(
            family("ID=rocky\nID_LIKE=\"rhel centos fedora\""),
            Some("fedora")
        );
        assert_eq!(family("ID=endeavouros\nID_LIKE=arch"), Some("arch"));
        assert_eq!(family("ID=nixos"), None);
    }
}
