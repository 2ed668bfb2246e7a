//! What has to be installed, decided from facts alone.
//!
//! [`plan`] maps [`Facts`] to [`Task`]s without touching the machine, so every distribution can
//! be tested on any other. A task lists its ways in order of preference; a way is a few command
//! lines.
//!
//! pyr-wgpu itself needs only a Vulkan driver, which a Linux machine may lack. In that case Mesa's
//! lavapipe, which runs shaders on the CPU, is installed as a package.
//! The lavapipe of Debian 12 is from 2022 and clearly slower than the current one, so there the
//! newer one from Debian's official backports archive is installed.

use crate::command::shell_line;
use crate::distributions::{APT_INSTALL, Release, family};
use crate::facts::{Drivers, Facts, Source};
use crate::packages::{apt_update, install, way};
use crate::tools;

/// The purpose of the set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// Building the program and running it.
    Demo,
    /// Also everything that the tests use.
    Tests,
    /// Building the browser page.
    Web,
    /// Building the program for several machines.
    Mpi,
}

/// Something to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// What is missing and what will be installed, for the user.
    pub(crate) reason: String,
    /// Whether it changes the system, which needs an administrator.
    pub(crate) root: bool,
    /// Whether the goal needs it; otherwise a failure only causes a warning.
    pub(crate) required: bool,
    /// Alternative sequences of command lines; each is tried when the one before fails.
    pub(crate) ways: Vec<Vec<Step>>,
}

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Program and arguments.
    pub(crate) words: Vec<String>,
    /// Its standard input, if any.
    pub(crate) input: Option<String>,
    /// Whether the way continues when this step fails.
    pub(crate) may_fail: bool,
}

impl Step {
    /// A command line without input that has to succeed.
    pub(crate) fn new(words: &[&str]) -> Step {
        Step {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            input: None,
            may_fail: false,
        }
    }

    /// The step as one would type it.
    pub(crate) fn shell_line(&self, prefix: &[&str]) -> String {
        let words: Vec<&str> = prefix
            .iter()
            .copied()
            .chain(self.words.iter().map(String::as_str))
            .collect();
        let line = shell_line(&words);
        match &self.input {
            Some(input) => format!("echo {} | {line}", shell_line(&[input.trim_end()])),
            None => line,
        }
    }
}

/// Everything that is missing for a goal.
///
/// # Errors
/// If something is missing that cannot be installed from here; the message has the next step.
pub(crate) fn plan(facts: &Facts, goal: Goal) -> Result<Vec<Task>, String> {
    let mut tasks = Vec::new();
    if let Some(release) = &facts.linux {
        tasks.extend(vulkan(facts, release)?);
    }
    match goal {
        Goal::Demo => {}
        Goal::Tests => {
            tasks.extend(tools::rust(
                facts,
                &[tools::LINT_TOOLS, tools::WASM_TARGET],
            )?);
            tasks.extend(tools::test_programs(facts));
        }
        Goal::Web => return tools::rust(facts, &[tools::WASM_TARGET]),
        Goal::Mpi => return tools::mpi(facts).map(Vec::from_iter),
    }
    Ok(tasks)
}

fn vulkan(facts: &Facts, release: &Release) -> Result<Option<Task>, String> {
    let missing = match (&facts.vulkan_drivers, facts.vulkan_loader) {
        (Drivers::Hidden { variable }, _) => {
            return Err(format!(
                "the environment variable {variable} names no existing Vulkan driver and hides \
                 all others; unset or correct it"
            ));
        }
        (Drivers::Found, true) => return Ok(outdated_lavapipe(facts, release)),
        (Drivers::Found, false) => "The Vulkan loader libvulkan.so.1 is missing",
        (Drivers::Missing, _) => "This machine has no Vulkan driver",
    };
    software_adapter(facts, release, missing).map(Some)
}

/// Installs lavapipe and the Vulkan loader, whatever is installed already.
///
/// # Errors
/// If the distribution's package manager is unknown.
pub(crate) fn software_adapter(
    facts: &Facts,
    release: &Release,
    missing: &str,
) -> Result<Task, String> {
    let Some(family) = family(release) else {
        return Err(format!(
            "{missing}, and the packages of this Linux distribution (`{}`) are not known here; \
             install libvulkan and a Vulkan driver (Mesa's lavapipe runs on any CPU), then \
             run this again",
            release.id
        ));
    };
    let packages = format!("{} {}", family.loader, family.lavapipe);
    let mut ways = vec![way(family, &packages)];
    let mut origin = "";
    if debian_12(release) {
        ways.insert(0, backports(&facts.apt_sources));
        origin = " from the archive bookworm-backports, if that can be reached";
    }
    let hint = match facts.graphics_hardware {
        true => " This machine seems to have a GPU: with its own driver it will be much faster.",
        false => "",
    };
    Ok(Task {
        reason: format!(
            "{missing}. Mesa's lavapipe, which runs Vulkan on the CPU, will be installed \
             by the system's package manager{origin} ({packages}).{hint}"
        ),
        root: true,
        required: true,
        ways,
    })
}

fn debian_12(release: &Release) -> bool {
    release.id == "debian" && release.codename == "bookworm"
}

/// Replaces Debian 12's own lavapipe, which is slow; a machine with a GPU does not use it.
fn outdated_lavapipe(facts: &Facts, release: &Release) -> Option<Task> {
    let mesa = facts.mesa.as_deref()?;
    let outdated = debian_12(release) && mesa.starts_with("22.") && !facts.graphics_hardware;
    outdated.then(|| Task {
        reason: format!(
            "The only Vulkan driver here is lavapipe of Mesa {mesa}, which is 1.3 to 1.7 times \
             slower than the one in the archive bookworm-backports. That one will be installed \
             ({BACKPORTED})."
        ),
        root: true,
        required: false,
        ways: vec![backports(&facts.apt_sources)],
    })
}

/// The packages from Debian 12's backports: the driver and the newer libraries it needs.
const BACKPORTED: &str = "libvulkan1 mesa-vulkan-drivers libdrm2 libdrm-amdgpu1";

const BACKPORTS_FILE: &str = "/etc/apt/sources.list.d/pyr-wgpu-backports.list";

/// The Debian mirror that this machine uses for its own release, or the default mirror if its
/// sources are a CD or a folder.
pub(crate) fn debian_mirror<'a>(sources: &'a [Source], release: &str) -> &'a str {
    let main = sources
        .iter()
        .filter(|s| s.suites.iter().any(|suite| suite == release));
    main.map(|source| source.uri.as_str())
        .find(|uri| uri.starts_with("http"))
        .unwrap_or("http://deb.debian.org/debian")
}

fn backports(sources: &[Source]) -> Vec<Step> {
    let backported = |source: &Source| source.suites.iter().any(|s| s == "bookworm-backports");
    let mut steps = Vec::new();
    if !sources.iter().any(backported) {
        let archive = debian_mirror(sources, "bookworm");
        let keys = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
        steps.push(Step {
            input: Some(format!("deb [{keys}] {archive} bookworm-backports main\n")),
            ..Step::new(&["tee", BACKPORTS_FILE])
        });
    }
    let before = [
        &APT_INSTALL[..],
        &["--target-release", "bookworm-backports"],
    ]
    .concat();
    steps.extend([apt_update(), install(&before, BACKPORTED)]);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linux(id: &str, like: &[&str], codename: &str) -> Facts {
        Facts {
            linux: Some(Release {
                id: id.to_owned(),
                like: like.iter().map(|s| (*s).to_owned()).collect(),
                codename: codename.to_owned(),
            }),
            vulkan_loader: true,
            vulkan_drivers: Drivers::Found,
            graphics_hardware: false,
            mesa: None,
            apt_sources: Vec::new(),
            rustup: true,
            wasm_target: true,
            lint_tools: true,
            python: true,
            chromium: true,
            node: true,
            mpi: true,
        }
    }

    fn bare(id: &str, like: &[&str], codename: &str) -> Facts {
        Facts {
            vulkan_loader: false,
            vulkan_drivers: Drivers::Missing,
            ..linux(id, like, codename)
        }
    }

    fn source(uri: &str, suites: &[&str]) -> Source {
        Source {
            uri: uri.to_owned(),
            suites: suites.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    /// The command lines of every way of the only task.
    fn lines(facts: &Facts, goal: Goal) -> Vec<Vec<String>> {
        let tasks = plan(facts, goal).unwrap();
        assert_eq!(tasks.len(), 1, "{tasks:?}");
        let line = |way: &Vec<Step>| way.iter().map(|step| step.shell_line(&[])).collect();
        tasks[0].ways.iter().map(line).collect()
    }

    const APT: &str = "env DEBIAN_FRONTEND=noninteractive apt-get install --yes \
                       --no-install-recommends --option DPkg::Lock::Timeout=300";

    #[test]
    fn a_complete_machine_needs_nothing() {
        for goal in [Goal::Demo, Goal::Tests, Goal::Web] {
            assert_eq!(plan(&linux("debian", &[], "bookworm"), goal), Ok(vec![]));
            assert_eq!(plan(&linux("void", &[], ""), goal), Ok(vec![]));
        }
    }

    #[test]
    fn systems_with_their_own_graphics_interface_need_nothing() {
        let facts = Facts {
            linux: None,
            ..linux("", &[], "")
        };
        assert_eq!(plan(&facts, Goal::Tests), Ok(vec![]));
    }

    #[test]
    fn debian_12_takes_the_driver_from_backports() {
        let facts = bare("debian", &[], "bookworm");
        let deb = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                   http://deb.debian.org/debian bookworm-backports main";
        let tee = format!("echo '{deb}' | tee /etc/apt/sources.list.d/pyr-wgpu-backports.list");
        let new = format!(
            "{APT} --target-release bookworm-backports libvulkan1 mesa-vulkan-drivers libdrm2 \
             libdrm-amdgpu1"
        );
        let old = format!("{APT} libvulkan1 mesa-vulkan-drivers");
        let update = "apt-get update".to_owned();
        let expected = vec![vec![tee, update.clone(), new], vec![update, old]];
        assert_eq!(lines(&facts, Goal::Demo), expected);
        assert_eq!(lines(&facts, Goal::Tests), expected);
        let task = &plan(&facts, Goal::Demo).unwrap()[0];
        assert!(task.root && task.required);
        assert!(task.reason.contains("no Vulkan driver"), "{}", task.reason);
        assert!(
            task.reason.contains("mesa-vulkan-drivers"),
            "{}",
            task.reason
        );
    }

    #[test]
    fn configured_backports_are_used_as_they_are() {
        let facts = Facts {
            apt_sources: vec![
                source("http://m/debian", &["bookworm"]),
                source("http://m/debian", &["bookworm-backports"]),
            ],
            ..bare("debian", &[], "bookworm")
        };
        assert_eq!(lines(&facts, Goal::Demo)[0][0], "apt-get update");
    }

    #[test]
    fn backports_come_from_the_mirror_in_use() {
        let facts = Facts {
            apt_sources: vec![
                source("cdrom:[Debian]/", &["bookworm"]),
                source("http://security/debian-security", &["bookworm-security"]),
                source("https://mirror/debian", &["bookworm", "bookworm-updates"]),
            ],
            ..bare("debian", &[], "bookworm")
        };
        let first = &lines(&facts, Goal::Demo)[0][0];
        assert!(
            first.contains("] https://mirror/debian bookworm-backports main"),
            "{first}"
        );
    }

    #[test]
    fn other_debians_and_ubuntu_have_recent_drivers() {
        let install = format!("{APT} libvulkan1 mesa-vulkan-drivers");
        for facts in [
            bare("debian", &[], "trixie"),
            bare("ubuntu", &["debian"], "noble"),
            bare("linuxmint", &["ubuntu", "debian"], "xia"),
            bare("raspbian", &["debian"], "bookworm"),
        ] {
            let expected = vec![vec!["apt-get update".to_owned(), install.clone()]];
            assert_eq!(lines(&facts, Goal::Demo), expected);
        }
    }

    #[test]
    fn other_package_managers() {
        let check = |id: &str, like: &[&str], expected: &str| {
            assert_eq!(lines(&bare(id, like, ""), Goal::Demo), [[expected]], "{id}");
        };
        let dnf = "dnf install --assumeyes vulkan-loader mesa-vulkan-drivers";
        let pacman = "pacman -S --needed --noconfirm vulkan-icd-loader vulkan-swrast";
        let zypper = "zypper --non-interactive install libvulkan1 libvulkan_lvp";
        check("fedora", &[], dnf);
        check("rocky", &["rhel", "centos", "fedora"], dnf);
        check("arch", &[], pacman);
        check("manjaro", &["arch"], pacman);
        check("opensuse-tumbleweed", &["opensuse", "suse"], zypper);
        check("opensuse-leap", &["suse", "opensuse"], zypper);
        check(
            "alpine",
            &[],
            "apk add --update-cache vulkan-loader mesa-vulkan-swrast",
        );
    }

    #[test]
    fn an_unknown_distribution_gets_advice() {
        let error = plan(&bare("void", &[], ""), Goal::Demo).unwrap_err();
        assert!(
            error.contains("`void`") && error.contains("lavapipe"),
            "{error}"
        );
    }

    #[test]
    fn a_gpu_without_a_driver_is_mentioned() {
        let reason = |graphics_hardware| {
            let facts = Facts {
                graphics_hardware,
                ..bare("arch", &[], "")
            };
            plan(&facts, Goal::Demo).unwrap()[0].reason.clone()
        };
        assert!(reason(true).contains("its own driver"), "{}", reason(true));
        assert!(!reason(false).contains("its own driver"));
    }

    #[test]
    fn a_driver_without_the_loader_is_not_enough() {
        let facts = Facts {
            vulkan_loader: false,
            ..linux("fedora", &[], "")
        };
        assert_eq!(lines(&facts, Goal::Demo).len(), 1);
        let task = &plan(&facts, Goal::Demo).unwrap()[0];
        assert!(task.reason.contains("libvulkan.so.1"), "{}", task.reason);
    }

    #[test]
    fn a_variable_that_hides_all_drivers_is_named() {
        let facts = Facts {
            vulkan_drivers: Drivers::Hidden {
                variable: "VK_DRIVER_FILES".to_owned(),
            },
            ..linux("debian", &[], "bookworm")
        };
        let error = plan(&facts, Goal::Demo).unwrap_err();
        assert!(error.contains("VK_DRIVER_FILES"), "{error}");
    }

    #[test]
    fn slow_lavapipe_is_replaced_where_it_is_used() {
        let with = |mesa: &str, graphics_hardware| Facts {
            mesa: Some(mesa.to_owned()),
            graphics_hardware,
            ..linux("debian", &[], "bookworm")
        };
        let old = "22.3.6-1+deb12u1";
        let tasks = plan(&with(old, false), Goal::Demo).unwrap();
        assert_eq!(tasks.len(), 1);
        assert!(!tasks[0].required && tasks[0].root);
        assert!(tasks[0].reason.contains(old), "{}", tasks[0].reason);
        assert_eq!(plan(&with(old, true), Goal::Demo), Ok(vec![]));
        assert_eq!(
            plan(&with("25.0.7-2~bpo12+1", false), Goal::Demo),
            Ok(vec![])
        );
        let elsewhere = Facts {
            mesa: Some(old.to_owned()),
            ..linux("raspbian", &["debian"], "bookworm")
        };
        assert_eq!(plan(&elsewhere, Goal::Demo), Ok(vec![]));
    }

    #[test]
    fn parts_of_rust_are_for_the_tests_only() {
        let facts = Facts {
            wasm_target: false,
            lint_tools: false,
            ..linux("debian", &[], "bookworm")
        };
        assert_eq!(plan(&facts, Goal::Demo), Ok(vec![]));
        let tasks = plan(&facts, Goal::Tests).unwrap();
        let lines: Vec<String> = tasks.iter().map(|t| t.ways[0][0].shell_line(&[])).collect();
        let expected = [
            "rustup component add clippy rustfmt",
            "rustup target add wasm32-unknown-unknown",
        ];
        assert_eq!(lines, expected);
        assert!(tasks.iter().all(|task| !task.root && task.required));
    }

    #[test]
    fn programs_for_the_tests_are_optional() {
        let without = |linux: Facts| Facts {
            python: false,
            chromium: false,
            node: false,
            ..linux
        };
        let debian = without(linux("debian", &[], "bookworm"));
        assert_eq!(plan(&debian, Goal::Demo), Ok(vec![]));
        assert_eq!(plan(&debian, Goal::Web), Ok(vec![]));
        let tasks = plan(&debian, Goal::Tests).unwrap();
        let lines: Vec<String> = tasks.iter().map(|t| t.ways[0][1].shell_line(&[])).collect();
        assert_eq!(
            lines,
            ["python3 python3-venv", "chromium", "nodejs npm"]
                .map(|names| format!("{APT} {names}"))
        );
        assert!(tasks.iter().all(|task| !task.required));
        assert_eq!(
            plan(&without(linux("void", &[], "")), Goal::Tests),
            Ok(vec![])
        );
    }

    #[test]
    fn mpi_comes_from_the_distribution() {
        let without = |linux: Facts| Facts {
            mpi: false,
            ..linux
        };
        let debian = without(linux("debian", &[], "bookworm"));
        assert_eq!(plan(&debian, Goal::Tests), Ok(vec![]));
        let install = format!("{APT} openmpi-bin libopenmpi-dev libclang-dev");
        let expected = vec![vec!["apt-get update".to_owned(), install]];
        assert_eq!(lines(&debian, Goal::Mpi), expected);
        let error = plan(&without(linux("void", &[], "")), Goal::Mpi).unwrap_err();
        assert!(
            error.contains("mpicc") && error.contains("libclang"),
            "{error}"
        );
        let macos = Facts {
            linux: None,
            ..without(linux("", &[], ""))
        };
        assert!(plan(&macos, Goal::Mpi).unwrap_err().contains("mpicc"));
    }

    #[test]
    fn without_rustup_the_missing_part_is_named() {
        let facts = Facts {
            wasm_target: false,
            rustup: false,
            ..linux("debian", &[], "bookworm")
        };
        let error = plan(&facts, Goal::Tests).unwrap_err();
        assert!(
            error.contains("rustup") && error.contains("wasm32-unknown-unknown"),
            "{error}"
        );
    }

    #[test]
    fn steps_can_be_typed_with_sudo() {
        let way = backports(&[]);
        let tee = way[0].shell_line(&["sudo"]);
        assert!(
            tee.starts_with("echo 'deb [") && tee.contains("| sudo tee /etc/apt/"),
            "{tee}"
        );
        assert_eq!(way[1].shell_line(&["sudo"]), "sudo apt-get update");
    }
}
