//! From facts to findings: what works, what is missing, and the command that brings it.

use serde::Serialize;

use super::facts::{Facts, Linux, RenderNode, Vendor};
use super::packages::{APT_INSTALL, Family, family};
use super::vulkan::Manifest;
use crate::memory::bytes;
use crate::text::printable_path;

/// How a finding affects the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It works.
    Ok,
    /// It works, but something could be better.
    Warning,
    /// What is missing keeps a GPU from being used, or files from being written.
    Missing,
}

/// Something that was found, or found missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) text: String,
    /// The command line that brings what is missing.
    pub(super) command: Option<String>,
}

/// Less memory than this does not suffice for the demo network.
const LITTLE_MEMORY: u64 = 1 << 30;

/// All findings; the first says what is best available.
pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let hardware = facts.adapters.iter().find(|adapter| !adapter.software);
    let mut found = Findings(Vec::new());
    found.ok(match hardware {
        Some(adapter) => format!("best available: adapter {}", adapter.line),
        None => format!("best available: {}", facts.cpu),
    });
    for adapter in &facts.adapters {
        let kind = if adapter.software { ", software" } else { "" };
        found.ok(format!(
            "adapter {}{kind}: driver {}",
            adapter.line, adapter.driver
        ));
    }
    if let (None, Some(software)) = (hardware, facts.adapters.first()) {
        found.add(
            Level::Warning,
            format!(
                "{} is the only kind of adapter, and runs on the CPU, several times slower than \
                 --device cpu",
                software.line
            ),
            None,
        );
    }
    // What is missing matters less where a GPU works.
    let level = match hardware {
        Some(_) => Level::Warning,
        None => Level::Missing,
    };
    match (&facts.linux, facts.system.as_str()) {
        (Some(linux), _) => Diagnosis { linux, level }.run(&mut found),
        (None, _) if hardware.is_some() => {}
        (None, "windows") => found.add(
            level,
            "no graphics card offers Direct3D 12 or Vulkan: install the driver of its vendor (AMD, \
             Intel or NVIDIA), which brings both; in a virtual machine, pass the card through"
                .to_owned(),
            None,
        ),
        (None, "macos") => found.add(
            level,
            "no GPU offers Metal, which is a part of macOS: this is a virtual machine without one, \
             or a Mac that Metal does not support"
                .to_owned(),
            None,
        ),
        (None, system) => found.add(
            level,
            format!("no adapter was found, and what {system} needs for one is not known here"),
            None,
        ),
    }
    found.ok(format!("processor: {}", facts.cpu));
    memory(facts, &mut found);
    for folder in &facts.folders {
        let path = printable_path(&folder.path);
        match &folder.error {
            None => found.ok(format!("folder for {}: {path}", folder.purpose)),
            Some(error) => found.add(
                Level::Missing,
                format!(
                    "nothing can be written to {path} ({}): {error}",
                    folder.purpose
                ),
                None,
            ),
        }
    }
    found.0
}

fn memory(facts: &Facts, found: &mut Findings) {
    let limits = facts.memory;
    let Some(free) = limits.free else {
        return;
    };
    let least = [limits.groups, limits.address_space];
    let least = least
        .into_iter()
        .flatten()
        .chain([free])
        .min()
        .unwrap_or(free);
    let total = limits
        .total
        .map_or(String::new(), |total| format!(" of {}", bytes(total)));
    let text = match (limits.groups, limits.address_space) {
        (Some(groups), _) if groups < free => format!(
            "memory: the limit of the container or control group leaves {} (free: {}{total})",
            bytes(groups),
            bytes(free)
        ),
        (_, Some(space)) if space < free => format!(
            "memory: the limit of address space (ulimit -v) leaves {} (free: {}{total})",
            bytes(space),
            bytes(free)
        ),
        _ => format!("memory: {} free{total}", bytes(free)),
    };
    match least < LITTLE_MEMORY {
        true => found.add(Level::Warning, format!("{text}, which is little"), None),
        false => found.ok(text),
    }
}

struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, text: String) {
        self.add(Level::Ok, text, None);
    }

    fn add(&mut self, level: Level, text: String, command: Option<String>) {
        self.0.push(Finding {
            level,
            text,
            command,
        });
    }
}

/// What keeps a Linux system from using a GPU through Vulkan.
struct Diagnosis<'a> {
    linux: &'a Linux,
    /// The level of what is missing.
    level: Level,
}

impl Diagnosis<'_> {
    fn run(&self, found: &mut Findings) {
        self.loader(found);
        self.manifests(found);
        match self.linux.wsl {
            Some(has_gpu) => self.subsystem(has_gpu, found),
            None => {
                self.render_nodes(found);
                self.vendors(found);
                self.nvidia(found);
            }
        }
        if self.linux.container {
            found.ok("this is a container: it sees the devices that it was started with".into());
        }
        if !self.linux.display {
            found.ok("there is no display: Vulkan needs none".to_owned());
        }
    }

    fn loader(&self, found: &mut Findings) {
        if !self.linux.loader {
            let text = "the Vulkan loader (libvulkan.so.1) is missing".to_owned();
            let command = self.install(|family| Some(family.loader));
            found.add(self.level, text, command);
        }
    }

    fn manifests(&self, found: &mut Findings) {
        let manifests = &self.linux.manifests;
        if let (Some(variable), false) = (self.linux.variable, self.has_driver(&[""])) {
            let text = format!(
                "the environment variable {variable} names no Vulkan driver that exists, and hides \
                 all others"
            );
            found.add(self.level, text, Some(format!("unset {variable}")));
            return;
        }
        let is_known = self.linux.nvidia_module.is_some()
            || self
                .linux
                .vendors
                .iter()
                .any(|vendor| *vendor != Vendor::Other);
        if manifests.is_empty() && !self.linux.render_nodes.is_empty() && !is_known {
            let text = "the GPU has no Vulkan driver: there is no manifest in vulkan/icd.d";
            // One package with all drivers of Mesa.
            let command = self.install(|family| {
                let is_one = family.amd == family.intel;
                is_one.then_some(family.amd)
            });
            found.add(self.level, text.to_owned(), command);
        }
        for manifest in manifests.iter().filter(|manifest| !manifest.found) {
            let path = printable_path(&manifest.path);
            let text = match &manifest.library {
                Some(library) => {
                    format!(
                        "the Vulkan driver {path} names the library {library}, which is missing"
                    )
                }
                None => format!("{path} is not a Vulkan driver manifest"),
            };
            let is_nvidia = is_of(manifest, &NVIDIA);
            let command = match is_nvidia {
                true => self.nvidia_command(),
                false => self.install(|family| Some(mesa(family, manifest))),
            };
            found.add(self.level, text, command);
        }
    }

    /// Findings of the Windows Subsystem for Linux.
    fn subsystem(&self, has_gpu: bool, found: &mut Findings) {
        if !has_gpu {
            let text = "this Windows Subsystem for Linux has no GPU (/dev/dxg): update it from \
                        Windows, and use version 2";
            found.add(self.level, text.to_owned(), Some("wsl --update".to_owned()));
            return;
        }
        if self.has_driver(&DZN) {
            return;
        }
        let text = "the Windows Subsystem for Linux gives the GPU as /dev/dxg, and Mesa's driver \
                    dzn, which offers it to Vulkan, is missing; pyr-wgpu for Windows needs neither";
        let sudo = self.sudo();
        let command = match family(&self.linux.release).map(|family| family.names[0]) {
            Some("ubuntu") => Some(format!(
                "{sudo}add-apt-repository ppa:kisak/kisak-mesa && {sudo}apt-get install \
                 mesa-vulkan-drivers"
            )),
            Some("fedora") => Some(format!("{sudo}dnf install mesa-vulkan-drivers")),
            Some("arch") => Some(format!("{sudo}pacman -S vulkan-dzn")),
            _ => None,
        };
        found.add(self.level, text.to_owned(), command);
    }

    fn render_nodes(&self, found: &mut Findings) {
        let linux = self.linux;
        let unusable = linux.render_nodes.iter().filter(|node| !node.usable);
        for RenderNode { path, group, .. } in unusable {
            let path = printable_path(path);
            let (text, command) = match (&linux.user, linux.container) {
                (_, true) => (
                    format!("the container may not use the GPU {path}"),
                    format!("docker run --device /dev/dri --group-add {group} …"),
                ),
                (user, false) => (
                    format!(
                        "the user may not use the GPU {path}; its group is {group}, and a new \
                         member has to log in again"
                    ),
                    format!(
                        "{}usermod --append --groups {group} {}",
                        self.sudo(),
                        user.as_deref().unwrap_or("root")
                    ),
                ),
            };
            found.add(self.level, text, Some(command));
        }
        if !linux.render_nodes.is_empty() || linux.nvidia_module.is_some() {
            return;
        }
        let module = linux.vendors.iter().find_map(|vendor| match vendor {
            Vendor::Amd => Some("amdgpu"),
            Vendor::Intel => Some("i915"),
            Vendor::Nvidia | Vendor::Other => None,
        });
        match (linux.container, module) {
            (true, _) => found.add(
                // Without a GPU on the bus there may be none at all.
                if linux.vendors.is_empty() { Level::Warning } else { self.level },
                "the container has no GPU (/dev/dri/renderD*); if the machine has one, start the \
                 container with it: the command is for AMD and Intel, with podman likewise; for \
                 NVIDIA it is docker run --gpus all --env NVIDIA_DRIVER_CAPABILITIES=all, or podman \
                 run --device nvidia.com/gpu=all"
                    .to_owned(),
                Some("docker run --device /dev/dri …".to_owned()),
            ),
            (false, Some(module)) => found.add(
                self.level,
                format!(
                    "the kernel offers no GPU (/dev/dri/renderD*), although there is one: its \
                     module {module} is not loaded"
                ),
                Some(format!("{}modprobe {module}", self.sudo())),
            ),
            (false, None) if linux.vendors.contains(&Vendor::Nvidia) => {}
            (false, None) => {
                found.ok("this machine has no GPU: no /dev/dri/renderD*, none on the PCI bus".into());
            }
        }
    }

    /// GPUs of AMD and Intel without a driver.
    fn vendors(&self, found: &mut Findings) {
        type Package = fn(&Family) -> &'static str;
        let wanted: [(Vendor, &str, &[&str], Package); 2] = [
            (Vendor::Amd, "AMD", &AMD, |family| family.amd),
            (Vendor::Intel, "Intel", &INTEL, |family| family.intel),
        ];
        for (vendor, name, words, package) in wanted {
            if self.linux.vendors.contains(&vendor) && !self.has_manifest(words) {
                let text = format!("the GPU of {name} has no Vulkan driver");
                let command = self.install(|family| Some(package(family)));
                found.add(self.level, text, command);
            }
        }
    }

    fn nvidia(&self, found: &mut Findings) {
        let linux = self.linux;
        let Some(version) = &linux.nvidia_module else {
            if linux.vendors.contains(&Vendor::Nvidia) && !self.has_driver(&NOUVEAU) {
                let text = "the GPU of NVIDIA has no driver: its kernel module is not loaded; \
                            install NVIDIA's driver by the packages of this distribution, and \
                            restart";
                found.add(self.level, text.to_owned(), None);
            }
            return;
        };
        if self.has_driver(&NVIDIA) {
            return;
        }
        let is_listed = |list: &String| {
            let mut words = list.split(',').map(str::trim);
            words.any(|word| word == "graphics" || word == "all")
        };
        let is_complete = linux.nvidia_capabilities.as_ref().is_some_and(is_listed);
        if linux.container && !is_complete {
            let text = format!(
                "the container has NVIDIA's kernel module {version} without the Vulkan driver: \
                 NVIDIA_DRIVER_CAPABILITIES is {}, and lacks graphics; with podman, add --device \
                 nvidia.com/gpu=all instead of --gpus all",
                linux.nvidia_capabilities.as_deref().unwrap_or("not set")
            );
            found.add(self.level, text, self.nvidia_command());
        } else if !self.has_manifest(&NVIDIA) {
            let text = format!(
                "NVIDIA's kernel module {version} is loaded, but its Vulkan driver is missing, as \
                 with a driver for computing only"
            );
            found.add(self.level, text, self.nvidia_command());
        }
    }

    /// The command that brings NVIDIA's Vulkan driver.
    fn nvidia_command(&self) -> Option<String> {
        if self.linux.container {
            return Some(
                "docker run --gpus all --env NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics …"
                    .to_owned(),
            );
        }
        let version = self.linux.nvidia_module.as_deref().unwrap_or_default();
        let major = version.split('.').next().unwrap_or_default();
        let command = self.install(|family| family.nvidia)?;
        Some(command.replace("MAJOR", major))
    }

    /// The command that installs packages; `None` if their names are not known here.
    fn install(&self, packages: impl Fn(&Family) -> Option<&'static str>) -> Option<String> {
        let family = family(&self.linux.release)?;
        let (sudo, command) = (self.sudo(), family.command);
        let refresh = match family.install == APT_INSTALL {
            true => format!("{sudo}apt-get update && "),
            false => String::new(),
        };
        Some(format!("{refresh}{sudo}{command} {}", packages(family)?))
    }

    fn sudo(&self) -> &'static str {
        match self.linux.user {
            Some(_) => "sudo ",
            None => "",
        }
    }

    /// Whether there is a manifest whose file name has one of some words.
    fn has_manifest(&self, words: &[&str]) -> bool {
        self.linux
            .manifests
            .iter()
            .any(|manifest| is_of(manifest, words))
    }

    /// Whether there is such a manifest whose library exists.
    fn has_driver(&self, words: &[&str]) -> bool {
        let mut manifests = self.linux.manifests.iter();
        manifests.any(|manifest| manifest.found && is_of(manifest, words))
    }
}

/// Words in the names of manifests.
const AMD: [&str; 2] = ["radeon", "amd"];
const INTEL: [&str; 1] = ["intel"];
const NVIDIA: [&str; 1] = ["nvidia"];
const NOUVEAU: [&str; 1] = ["nouveau"];
const DZN: [&str; 1] = ["dzn"];

fn is_of(manifest: &Manifest, words: &[&str]) -> bool {
    let name = manifest.path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().to_lowercase();
    words.iter().any(|word| name.contains(word))
}

/// The package of Mesa with the driver of a manifest.
fn mesa(family: &Family, manifest: &Manifest) -> &'static str {
    match manifest {
        _ if is_of(manifest, &AMD) => family.amd,
        _ if is_of(manifest, &INTEL) => family.intel,
        _ => family.lavapipe,
    }
}
