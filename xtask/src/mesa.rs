//! A newer Mesa than that of the system, for tests: software adapters and compilers for cards.
//!
//! Mesa's packages of a newer Debian and all libraries that they need are unpacked into
//! `target/mesa` and used from there through their own dynamic linker, so that the system does not
//! change.

use std::path::{Path, PathBuf};

use crate::command::{Failure, root};
use crate::distributions::APT_INSTALL;
use crate::facts::{self, Facts};
use crate::packages::{apt_update, install};
use crate::plan::{Step, Task, debian_mirror};
use crate::setup;

/// The first Debian release with matrix units in lavapipe and drivers for all cards of
/// `cargo xtask isa`.
const SUITE: &str = "forky";

/// Drivers, and stand-ins of the kernel's interface for cards that are not there.
const PACKAGES: &str = "--include=libvulkan1,mesa-vulkan-drivers,mesa-drm-shim";

/// The folder of its libraries, below the one where they are unpacked.
const LIBRARIES: &str = "root/usr/lib/x86_64-linux-gnu";

/// Unpacks the packages that debootstrap downloaded into the folder `$1`.
const UNPACK: &str = "for package in \"$1\"/var/cache/apt/archives/*.deb; do \
                      dpkg-deb --extract \"$package\" \"$1/root\" || exit 1; done";

/// The unpacked packages.
pub(crate) struct Mesa {
    folder: PathBuf,
}

impl Mesa {
    /// Why this system cannot unpack the packages, if it cannot.
    pub(crate) fn unsupported(facts: &Facts) -> Option<&'static str> {
        let debian = facts.linux.as_ref().is_some_and(|r| r.id == "debian");
        if !debian || std::env::consts::ARCH != "x86_64" {
            return Some("a newer Mesa is unpacked on Debian for x86_64 only");
        }
        let folder = folder();
        let spaces = folder.to_string_lossy().contains(char::is_whitespace);
        spaces.then_some("the dynamic linker splits the names of its libraries at spaces")
    }

    /// Unpacks the packages, unless they are; `None` if that fails.
    ///
    /// # Errors
    /// If Ctrl-C interrupted the set-up.
    pub(crate) fn unpack() -> Result<Option<Mesa>, Failure> {
        let mesa = Mesa { folder: folder() };
        if !mesa.present() {
            setup::perform(&task(&facts::gather(), &mesa.folder))?;
        }
        Ok(mesa.present().then_some(mesa))
    }

    /// The dynamic linker, which takes a program with its arguments after its own.
    pub(crate) fn linker(&self) -> PathBuf {
        self.folder.join(LIBRARIES).join("ld-linux-x86-64.so.2")
    }

    /// The linker's arguments that select the libraries.
    pub(crate) fn libraries(&self) -> [String; 2] {
        let libraries = self.folder.join(LIBRARIES);
        ["--library-path".to_owned(), libraries.display().to_string()]
    }

    /// The linker's arguments that load a stand-in of the kernel's interface first.
    pub(crate) fn stand_in(&self, kernel_driver: &str) -> [String; 2] {
        let name = format!("lib{kernel_driver}_noop_drm_shim.so");
        let library = self.folder.join(LIBRARIES).join(name);
        ["--preload".to_owned(), library.display().to_string()]
    }

    /// The manifest of a driver, for the Vulkan loader.
    pub(crate) fn driver(&self, name: &str) -> PathBuf {
        let manifests = self.folder.join("root/usr/share/vulkan/icd.d");
        manifests.join(format!("{name}_icd.json"))
    }

    fn present(&self) -> bool {
        let [_, shim] = self.stand_in("amdgpu");
        let files = [self.linker(), self.driver("lvp"), PathBuf::from(shim)];
        files.iter().all(|path| path.is_file())
    }
}

fn folder() -> PathBuf {
    root().join("target").join("mesa")
}

/// Downloads the packages and unpacks them; debootstrap resolves their dependencies.
fn task(facts: &Facts, folder: &Path) -> Task {
    let folder = folder.display().to_string();
    let release = facts.linux.as_ref().map_or("", |linux| &linux.codename);
    let mirror = debian_mirror(&facts.apt_sources, release);
    Task {
        reason: format!(
            "The tests of matrix units and of compilers for cards need a newer Mesa: Debian's \
             packages of {SUITE} will be unpacked into {folder}; only debootstrap will be \
             installed."
        ),
        root: true,
        required: false,
        ways: vec![vec![
            apt_update(),
            install(&APT_INSTALL, "debootstrap"),
            Step::new(&["rm", "-rf", &folder]),
            Step::new(&[
                "debootstrap",
                "--variant=minbase",
                "--download-only",
                PACKAGES,
                SUITE,
                &folder,
                mirror,
                // Older versions of debootstrap do not know the release's name.
                "/usr/share/debootstrap/scripts/sid",
            ]),
            Step::new(&["mkdir", "-p", &format!("{folder}/root")]),
            Step::new(&["sh", "-c", UNPACK, "unpack", &folder]),
            // So that removing the folder needs no administrator.
            Step::new(&[
                "chown",
                "-R",
                &format!("--reference={}", root().display()),
                &folder,
            ]),
        ]],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributions::Release;
    use crate::facts::Source;

    fn on(id: &str, codename: &str) -> Facts {
        Facts {
            linux: Some(Release {
                id: id.to_owned(),
                codename: codename.to_owned(),
                ..Release::default()
            }),
            apt_sources: vec![Source {
                uri: "https://mirror/debian".to_owned(),
                suites: vec![codename.to_owned()],
            }],
            ..facts::gather()
        }
    }

    #[test]
    fn packages_come_from_the_mirror_in_use_and_stay_in_one_folder() {
        let task = task(&on("debian", "trixie"), Path::new("/a b/mesa"));
        assert!(!task.required);
        let lines = task.ways[0].iter().map(|step| step.shell_line(&[]));
        let lines: Vec<String> = lines.collect();
        assert!(lines[3].contains("forky '/a b/mesa' https://mirror/debian "));
        assert!(lines[5].ends_with(" unpack '/a b/mesa'"), "{}", lines[5]);
    }

    #[test]
    fn other_systems_get_a_reason() {
        let reason = Mesa::unsupported(&on("fedora", "")).unwrap();
        assert!(reason.contains("on Debian"), "{reason}");
    }
}
