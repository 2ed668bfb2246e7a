//! The tests of matrix units, on a software adapter that has them.
//!
//! Mesa's lavapipe has cooperative matrices since version 26, which is not in Debian 12 and 13. Its
//! packages and all libraries that they need are therefore unpacked into `target/lavapipe` and
//! used from there through their own dynamic linker, so that the system does not change.

use std::path::Path;

use crate::command::{Failure, cargo, root, run as run_command};
use crate::distributions::APT_INSTALL;
use crate::facts::{self, Facts};
use crate::packages::{apt_update, install};
use crate::plan::{Step, Task, debian_mirror};
use crate::setup;
use crate::test::Outcome;

/// The first Debian release with such a version.
const SUITE: &str = "forky";

/// The folder of its libraries, below the one where they are unpacked.
const LIBRARIES: &str = "root/usr/lib/x86_64-linux-gnu";

/// The variable that sets cargo's runner of test programs, on the only supported platform.
const RUNNER: &str = "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER";

/// Unpacks the packages that debootstrap downloaded into the folder `$1`.
const UNPACK: &str = "for package in \"$1\"/var/cache/apt/archives/*.deb; do \
                      dpkg-deb --extract \"$package\" \"$1/root\" || exit 1; done";

/// Runs the tests, where the adapter can be installed.
///
/// # Errors
/// If cargo cannot be started, or Ctrl-C interrupted the set-up.
pub(crate) fn test() -> Result<Outcome, Failure> {
    let skipped = |reason: &str| Ok(Outcome::Skipped(reason.to_owned()));
    let facts = facts::gather();
    let debian = facts.linux.as_ref().is_some_and(|r| r.id == "debian");
    if !debian || std::env::consts::ARCH != "x86_64" {
        return skipped("a lavapipe with matrix units is installed on Debian for x86_64 only");
    }
    let folder = root().join("target").join("lavapipe");
    if folder.to_string_lossy().contains(char::is_whitespace) {
        return skipped("cargo splits the command line that starts the tests at spaces");
    }
    let libraries = folder.join(LIBRARIES);
    let driver = folder.join("root/usr/share/vulkan/icd.d/lvp_icd.json");
    let linker = libraries.join("ld-linux-x86-64.so.2");
    let present = || [&driver, &linker].iter().all(|path| path.is_file());
    if !present() {
        setup::perform(&task(&facts, &folder))?;
    }
    if !present() {
        return skipped("there is no lavapipe with matrix units");
    }
    let runner = format!(
        "{} --library-path {}",
        linker.display(),
        libraries.display()
    );
    let mut command = cargo(&["test", "--test", "matrices"]);
    command
        .env(RUNNER, runner)
        .env("VK_DRIVER_FILES", driver)
        .env("PYR_WGPU_TEST_GPU", "required")
        .env("PYR_WGPU_TEST_MATRICES", "required");
    run_command(&mut command).map(Outcome::Ended)
}

/// Downloads the packages and unpacks them; debootstrap resolves their dependencies.
fn task(facts: &Facts, folder: &Path) -> Task {
    let folder = folder.display().to_string();
    let release = facts.linux.as_ref().map_or("", |linux| &linux.codename);
    let mirror = debian_mirror(&facts.apt_sources, release);
    Task {
        reason: format!(
            "The tests of matrix units need a newer lavapipe: Debian's packages of {SUITE} will \
             be unpacked into {folder}; only debootstrap will be installed."
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
                "--include=libvulkan1,mesa-vulkan-drivers",
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

    #[test]
    fn packages_come_from_the_mirror_in_use_and_stay_in_one_folder() {
        let facts = Facts {
            linux: Some(Release {
                id: "debian".to_owned(),
                codename: "trixie".to_owned(),
                ..Release::default()
            }),
            apt_sources: vec![Source {
                uri: "https://mirror/debian".to_owned(),
                suites: vec!["trixie".to_owned()],
            }],
            ..facts::gather()
        };
        let task = task(&facts, Path::new("/a b/lavapipe"));
        assert!(!task.required);
        let lines = task.ways[0].iter().map(|step| step.shell_line(&[]));
        let lines: Vec<String> = lines.collect();
        assert!(lines[3].contains("forky '/a b/lavapipe' https://mirror/debian "));
        assert!(
            lines[5].ends_with(" unpack '/a b/lavapipe'"),
            "{}",
            lines[5]
        );
    }
}
