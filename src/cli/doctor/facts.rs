//! What this system has: drivers, devices, memory, folders. Nothing here judges or changes it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::Release;
use super::vulkan::{LOADER, Libraries, Manifest, below, manifests};
use crate::engine::Device;
use crate::gpu::adapter;
use crate::memory::{self, Limits};

/// What the findings depend on.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The operating system's name (`linux`, `windows`, `macos`).
    pub(super) system: String,
    /// Facts of Linux; `None` on other systems, whose graphics interface is built in.
    pub(super) linux: Option<Linux>,
    /// Adapters that can compute, the best first.
    pub(super) adapters: Vec<Adapter>,
    /// The CPU device: threads and vector instructions.
    pub(super) cpu: String,
    /// Limits on the memory of this process.
    pub(super) memory: Limits,
    /// Folders that the program writes.
    pub(super) folders: Vec<Folder>,
}

/// An adapter that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Adapter {
    /// Name, type and backend.
    pub(super) line: String,
    /// Its driver's name and version.
    pub(super) driver: String,
    /// Whether it runs on the CPU.
    pub(super) software: bool,
}

/// A folder that the program writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// What is written there.
    pub(super) purpose: &'static str,
    /// Its path.
    pub(super) path: PathBuf,
    /// Why nothing can be written there.
    pub(super) error: Option<String>,
}

/// Facts of a Linux system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Linux {
    /// The distribution.
    pub(super) release: Release,
    /// Whether the Vulkan loader can be loaded.
    pub(super) loader: bool,
    /// The driver manifests that it reads.
    pub(super) manifests: Vec<Manifest>,
    /// The environment variable that restricts it to some manifests.
    pub(super) variable: Option<&'static str>,
    /// Render nodes of GPUs.
    pub(super) render_nodes: Vec<RenderNode>,
    /// Vendors of the PCI devices that are display controllers.
    pub(super) vendors: Vec<Vendor>,
    /// The version of NVIDIA's kernel module, if it is loaded.
    pub(super) nvidia_module: Option<String>,
    /// `NVIDIA_DRIVER_CAPABILITIES`, which says what a container gets of NVIDIA's driver.
    pub(super) nvidia_capabilities: Option<String>,
    /// The Windows Subsystem for Linux, and whether it gives a GPU (`/dev/dxg`).
    pub(super) wsl: Option<bool>,
    /// Whether this is a container.
    pub(super) container: bool,
    /// Whether there is a display.
    pub(super) display: bool,
    /// The name of the user; `None` for root.
    pub(super) user: Option<String>,
}

/// A render node: a GPU as the kernel offers it to programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RenderNode {
    /// Its path.
    pub(super) path: PathBuf,
    /// Whether this user may use it.
    pub(super) usable: bool,
    /// The group that may; its number if it has no name here.
    pub(super) group: String,
}

/// A vendor of GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Amd,
    Intel,
    Nvidia,
    /// Virtual machines, servers' consoles.
    Other,
}

/// Environment variables by name.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Inspects this system.
pub(super) fn gather() -> Facts {
    let environment = |name: &str| std::env::var(name).ok();
    let is_linux = cfg!(target_os = "linux");
    let cached = is_linux.then(ldconfig).flatten().unwrap_or_default();
    let list = pollster::block_on(adapter::list(None));
    Facts {
        system: std::env::consts::OS.to_owned(),
        linux: is_linux.then(|| Linux::gather(Path::new("/"), &environment, cached)),
        adapters: list
            .iter()
            .map(|found| {
                let d = &found.description;
                Adapter {
                    line: d.line(),
                    driver: format!("{} {}", d.driver, d.driver_info),
                    software: d.software(),
                }
            })
            .collect(),
        cpu: Device::cpu().name(),
        memory: memory::limits(),
        folders: folders(),
    }
}

/// What `ldconfig -p` prints. A plain user's PATH often lacks /sbin, where Debian keeps it.
fn ldconfig() -> Option<String> {
    let mut programs = ["ldconfig", "/sbin/ldconfig"].iter();
    programs.find_map(|program| {
        let output = Command::new(program).arg("-p").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    })
}

fn folders() -> Vec<Folder> {
    let cache = dirs::cache_dir().map(|folder| folder.join("pyr-wgpu"));
    let here = std::env::current_dir().ok();
    let wanted = [("cache", cache), ("runs and data", here)];
    let known = wanted.into_iter();
    let known = known.filter_map(|(purpose, path)| Some((purpose, path?)));
    known
        .map(|(purpose, path)| Folder {
            purpose,
            error: unwritable(&path).map(|error| error.to_string()),
            path,
        })
        .collect()
}

/// Why nothing can be written to a folder, which is created if it is missing.
fn unwritable(path: &Path) -> Option<std::io::Error> {
    let written = fs::create_dir_all(path).and_then(|()| tempfile::tempfile_in(path));
    written.err()
}

impl Linux {
    /// Inspects the system below a root; `cached` is what `ldconfig -p` prints.
    pub(super) fn gather(root: &Path, environment: Environment<'_>, cached: String) -> Linux {
        let read = |path: &str| fs::read_to_string(below(root, Path::new(path))).ok();
        let exists = |path: &str| below(root, Path::new(path)).exists();
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let variable = environment("LD_LIBRARY_PATH").unwrap_or_default();
        let libraries = Libraries::new(root, cached, &variable);
        let (manifests, variable) = manifests(root, environment, &libraries);
        let release = read("/etc/os-release").or_else(|| read("/usr/lib/os-release"));
        let kernel = read("/proc/version").unwrap_or_default();
        let is_wsl = kernel.to_lowercase().contains("microsoft");
        let groups = read("/proc/1/cgroup").unwrap_or_default();
        let user = set("USER").or_else(|| set("LOGNAME"));
        Linux {
            release: Release::parse(&release.unwrap_or_default()),
            loader: libraries.have(LOADER),
            manifests,
            variable,
            render_nodes: render_nodes(root),
            vendors: vendors(root),
            nvidia_module: read("/proc/driver/nvidia/version").map(|text| module_version(&text)),
            nvidia_capabilities: set("NVIDIA_DRIVER_CAPABILITIES"),
            wsl: is_wsl.then(|| exists("/dev/dxg")),
            container: exists("/.dockerenv")
                || exists("/run/.containerenv")
                || set("container").is_some()
                || ["docker", "kubepods", "containerd", "libpod", "lxc"]
                    .iter()
                    .any(|name| groups.contains(name)),
            display: ["DISPLAY", "WAYLAND_DISPLAY"]
                .iter()
                .any(|name| set(name).is_some()),
            user: user.filter(|name| name != "root"),
        }
    }
}

/// Files of a folder in order of their names.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn render_nodes(root: &Path) -> Vec<RenderNode> {
    let is_node = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("renderD")
    };
    let groups = fs::read_to_string(below(root, Path::new("/etc/group"))).unwrap_or_default();
    let nodes = entries(&below(root, Path::new("/dev/dri"))).into_iter();
    nodes
        .filter(is_node)
        .map(|path| RenderNode {
            usable: File::options().read(true).write(true).open(&path).is_ok(),
            group: group(&path, &groups),
            path,
        })
        .collect()
}

/// The group of a file, by name; `groups` has lines such as `render:x:105:ada`.
#[cfg(unix)]
fn group(path: &Path, groups: &str) -> String {
    use std::os::unix::fs::MetadataExt;
    let number = fs::metadata(path)
        .map_or(0, |metadata| metadata.gid())
        .to_string();
    let named = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id == number).then(|| name.to_owned())
    });
    named.unwrap_or(number)
}

#[cfg(not(unix))]
fn group(_: &Path, _: &str) -> String {
    String::new()
}

/// The vendors of display controllers on the PCI bus.
fn vendors(root: &Path) -> Vec<Vendor> {
    let devices = entries(&below(root, Path::new("/sys/bus/pci/devices"))).into_iter();
    let mut vendors = Vec::new();
    for device in devices {
        let read = |name: &str| fs::read_to_string(device.join(name)).unwrap_or_default();
        if !read("class").starts_with("0x03") {
            continue;
        }
        let vendor = match read("vendor").trim() {
            "0x1002" => Vendor::Amd,
            "0x8086" => Vendor::Intel,
            "0x10de" => Vendor::Nvidia,
            _ => Vendor::Other,
        };
        if !vendors.contains(&vendor) {
            vendors.push(vendor);
        }
    }
    vendors
}

/// The version in a text such as `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15 …`.
fn module_version(text: &str) -> String {
    let is_version =
        |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let mut words = text.lines().next().unwrap_or_default().split_whitespace();
    words.find(is_version).unwrap_or_default().to_owned()
}
