//! Findings about systems that are not this one: fake roots, and facts.

use std::fs;
use std::path::{Path, PathBuf};

use super::facts::{Adapter, Facts, Folder, Linux, RenderNode};
use super::findings::{Finding, Level, findings};
use crate::memory::Limits;

const DEBIAN: (&str, &str) = ("etc/os-release", "ID=debian\n");
const UBUNTU: (&str, &str) = ("etc/os-release", "ID=ubuntu\nID_LIKE=debian\n");
const FEDORA: (&str, &str) = ("etc/os-release", "ID=fedora\n");
const ARCH: (&str, &str) = ("etc/os-release", "ID=arch\n");
const SUSE: (&str, &str) = (
    "etc/os-release",
    "ID=opensuse-tumbleweed\nID_LIKE=\"opensuse suse\"\n",
);
const ALPINE: (&str, &str) = ("usr/lib/os-release", "ID=alpine\n");
const NIXOS: (&str, &str) = ("etc/os-release", "ID=nixos\n");
const LOADER: (&str, &str) = ("usr/lib/libvulkan.so.1", "");
const NODE: (&str, &str) = ("dev/dri/renderD128", "");
const DOCKER: (&str, &str) = (".dockerenv", "");
const WSL: (&str, &str) = (
    "proc/version",
    "Linux version 5.15.0-microsoft-standard-WSL2\n",
);
const NVIDIA_MODULE: (&str, &str) = (
    "proc/driver/nvidia/version",
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\n",
);
const AMD: [(&str, &str); 2] = [
    ("sys/bus/pci/devices/0/class", "0x030000\n"),
    ("sys/bus/pci/devices/0/vendor", "0x1002\n"),
];
const INTEL: [(&str, &str); 2] = [
    ("sys/bus/pci/devices/1/class", "0x030000\n"),
    ("sys/bus/pci/devices/1/vendor", "0x8086\n"),
];
const NVIDIA: [(&str, &str); 2] = [
    ("sys/bus/pci/devices/2/class", "0x030200\n"),
    ("sys/bus/pci/devices/2/vendor", "0x10de\n"),
];
/// A network card is no display controller.
const NETWORK: [(&str, &str); 2] = [
    ("sys/bus/pci/devices/3/class", "0x020000\n"),
    ("sys/bus/pci/devices/3/vendor", "0x8086\n"),
];
const RADEON: [(&str, &str); 2] = [
    (
        "usr/share/vulkan/icd.d/radeon_icd.x86_64.json",
        r#"{"ICD": {"library_path": "/usr/lib/libvulkan_radeon.so"}}"#,
    ),
    ("usr/lib/libvulkan_radeon.so", ""),
];
const GEFORCE: [(&str, &str); 2] = [
    (
        "etc/vulkan/icd.d/nvidia_icd.json",
        r#"{"ICD": {"library_path": "libGLX_nvidia.so.0"}}"#,
    ),
    ("usr/lib/libGLX_nvidia.so.0", ""),
];

/// The facts of a user `ada` on a system with some files.
fn system(files: &[&[(&str, &str)]], variables: &[(&str, &str)]) -> Facts {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files.iter().copied().flatten() {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let environment = |name: &str| {
        let own = [("USER", "ada"), ("DISPLAY", ":0")];
        let mut all = variables.iter().chain(&own);
        let found = all.find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let linux = Linux::gather(root.path(), &environment, String::new());
    Facts {
        system: "linux".to_owned(),
        linux: Some(linux),
        cpu: "CPU (4 threads, AVX2)".to_owned(),
        ..Facts::default()
    }
}

/// What is missing: its text and the command.
fn missing(facts: &Facts) -> Vec<(String, String)> {
    let all = findings(facts).into_iter();
    let missing = all.filter(|finding| finding.level == Level::Missing);
    missing
        .map(|finding| (finding.text, finding.command.unwrap_or_default()))
        .collect()
}

/// Checks that exactly these things are missing, by words of their text, with these commands.
#[track_caller]
fn lacks(facts: &Facts, wanted: &[(&str, &str)]) {
    let found = missing(facts);
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for ((text, command), (word, wanted)) in found.iter().zip(wanted) {
        assert!(text.contains(word), "{text} lacks {word}");
        assert_eq!(command, wanted, "{text}");
    }
}

#[test]
fn a_gpu_without_loader_and_driver() {
    let loader = "Vulkan loader";
    let driver = "AMD has no Vulkan driver";
    for (release, install, loader_package, driver_package) in [
        (
            DEBIAN,
            "sudo apt-get update && sudo apt-get install",
            "libvulkan1",
            "mesa-vulkan-drivers",
        ),
        (
            FEDORA,
            "sudo dnf install",
            "vulkan-loader",
            "mesa-vulkan-drivers",
        ),
        (ARCH, "sudo pacman -S", "vulkan-icd-loader", "vulkan-radeon"),
        (
            SUSE,
            "sudo zypper install",
            "libvulkan1",
            "libvulkan_radeon",
        ),
        (ALPINE, "sudo apk add", "vulkan-loader", "mesa-vulkan-ati"),
    ] {
        let facts = system(&[&[release, NODE], &AMD, &NETWORK], &[]);
        let command = |package: &str| format!("{install} {package}");
        let commands = [loader_package, driver_package].map(command);
        lacks(&facts, &[(loader, &commands[0]), (driver, &commands[1])]);
    }
    // Packages of other distributions are not known; root needs no sudo.
    lacks(
        &system(&[&[NIXOS, NODE], &AMD], &[]),
        &[(loader, ""), (driver, "")],
    );
    let facts = system(&[&[ARCH, NODE, LOADER], &INTEL], &[("USER", "root")]);
    lacks(
        &facts,
        &[("Intel has no Vulkan driver", "pacman -S vulkan-intel")],
    );
}

#[test]
fn a_complete_system_lacks_nothing() {
    lacks(&system(&[&[DEBIAN, NODE, LOADER], &AMD, &RADEON], &[]), &[]);
    let nvidia: &[&[(&str, &str)]] = &[&[DEBIAN, LOADER, NVIDIA_MODULE], &NVIDIA, &GEFORCE];
    lacks(&system(nvidia, &[]), &[]);
    // Nothing can be installed for a machine without GPU, and nothing is missing for headless use.
    let server = system(&[&[DEBIAN, LOADER]], &[("DISPLAY", "")]);
    lacks(&server, &[]);
    let texts: Vec<String> = findings(&server).into_iter().map(|f| f.text).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("this machine has no GPU")),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|text| text.contains("no display")),
        "{texts:?}"
    );
    assert_eq!(texts[0], "best available: CPU (4 threads, AVX2)");
}

#[test]
fn a_driver_whose_library_is_gone() {
    let [manifest, _] = RADEON;
    lacks(
        &system(&[&[FEDORA, NODE, LOADER, manifest], &AMD], &[]),
        &[(
            "libvulkan_radeon.so, which is missing",
            "sudo dnf install mesa-vulkan-drivers",
        )],
    );
    let broken = ("usr/share/vulkan/icd.d/radeon.json", "{");
    lacks(
        &system(&[&[ARCH, NODE, LOADER, broken], &AMD], &[]),
        &[(
            "is not a Vulkan driver manifest",
            "sudo pacman -S vulkan-radeon",
        )],
    );
}

/// A GPU that is on no PCI bus, as in a single-board computer.
#[test]
fn a_gpu_without_any_manifest() {
    let text = "no manifest in vulkan/icd.d";
    lacks(
        &system(&[&[FEDORA, NODE, LOADER]], &[]),
        &[(text, "sudo dnf install mesa-vulkan-drivers")],
    );
    lacks(&system(&[&[ARCH, NODE, LOADER]], &[]), &[(text, "")]);
}

#[test]
fn a_variable_that_hides_all_drivers() {
    let variables = [("VK_DRIVER_FILES", "/nonexistent.json")];
    let files: &[&[(&str, &str)]] = &[&[DEBIAN, NODE, LOADER], &RADEON];
    lacks(
        &system(files, &variables),
        &[(
            "VK_DRIVER_FILES names no Vulkan driver",
            "unset VK_DRIVER_FILES",
        )],
    );
}

#[test]
fn render_nodes() {
    // The kernel's module is not loaded.
    lacks(
        &system(&[&[DEBIAN, LOADER], &AMD, &RADEON], &[]),
        &[("module amdgpu is not loaded", "sudo modprobe amdgpu")],
    );
    // The user may not use the device.
    let mut facts = system(&[&[DEBIAN, LOADER], &AMD, &RADEON], &[]);
    let linux = facts.linux.as_mut().unwrap();
    linux.render_nodes = vec![RenderNode {
        path: PathBuf::from("/dev/dri/renderD128"),
        usable: false,
        group: "render".to_owned(),
    }];
    lacks(
        &facts,
        &[(
            "may not use the GPU /dev/dri/renderD128",
            "sudo usermod --append --groups render ada",
        )],
    );
    facts.linux.as_mut().unwrap().container = true;
    let command = "docker run --device /dev/dri --group-add render …";
    lacks(&facts, &[("the container may not use the GPU", command)]);
}

/// The group has its name, where /etc/group knows it.
#[cfg(unix)]
#[test]
fn the_group_of_a_render_node() {
    use std::os::unix::fs::MetadataExt;
    let root = tempfile::tempdir().unwrap();
    let number = fs::metadata(root.path()).unwrap().gid();
    let groups = format!("video:x:4294967294:\nrender:x:{number}:ada\n");
    let group = |groups: &str| {
        let facts = system(&[&[NODE, ("etc/group", groups)]], &[]);
        facts.linux.unwrap().render_nodes[0].group.clone()
    };
    assert_eq!(group(&groups), "render");
    assert_eq!(group(""), number.to_string());
}

#[test]
fn nvidia_modules_without_vulkan() {
    for (release, command) in [
        (
            UBUNTU,
            "sudo apt-get update && sudo apt-get install libnvidia-gl-550",
        ),
        (
            DEBIAN,
            "sudo apt-get update && sudo apt-get install nvidia-vulkan-icd",
        ),
        (FEDORA, "sudo dnf install xorg-x11-drv-nvidia-libs"),
        (ARCH, "sudo pacman -S nvidia-utils"),
        (SUSE, "sudo zypper install nvidia-gl-G06"),
        (ALPINE, ""),
    ] {
        let facts = system(&[&[release, LOADER, NVIDIA_MODULE], &NVIDIA], &[]);
        lacks(&facts, &[("module 550.54.15 is loaded", command)]);
    }
    let facts = system(&[&[DEBIAN, LOADER], &NVIDIA], &[]);
    lacks(&facts, &[("its kernel module is not loaded", "")]);
}

#[test]
fn containers() {
    let gpus = "docker run --gpus all --env NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics …";
    lacks(
        &system(&[&[DEBIAN, LOADER, DOCKER], &AMD, &RADEON], &[]),
        &[("the container has no GPU", "docker run --device /dev/dri …")],
    );
    // Nothing says that the machine has one.
    let facts = system(&[&[DEBIAN, LOADER, DOCKER]], &[]);
    lacks(&facts, &[]);
    assert!(findings(&facts).iter().any(|f| f.level == Level::Warning));
    for capabilities in ["compute,utility", ""] {
        let variables = [("NVIDIA_DRIVER_CAPABILITIES", capabilities)];
        lacks(
            &system(&[&[UBUNTU, LOADER, DOCKER, NVIDIA_MODULE]], &variables),
            &[("lacks graphics", gpus)],
        );
    }
    let variables = [("NVIDIA_DRIVER_CAPABILITIES", "all")];
    let files: &[&[(&str, &str)]] = &[&[UBUNTU, LOADER, DOCKER, NVIDIA_MODULE], &GEFORCE];
    lacks(&system(files, &variables), &[]);
    let podman = system(&[&[DEBIAN, LOADER, NODE, ("run/.containerenv", "")]], &[]);
    assert!(podman.linux.unwrap().container);
}

#[test]
fn windows_subsystem_for_linux() {
    let gpu = ("dev/dxg", "");
    let dzn = [
        (
            "usr/share/vulkan/icd.d/dzn_icd.x86_64.json",
            r#"{"ICD": {"library_path": "libvulkan_dzn.so"}}"#,
        ),
        ("usr/lib/libvulkan_dzn.so", ""),
    ];
    lacks(
        &system(&[&[UBUNTU, LOADER, WSL]], &[]),
        &[("has no GPU (/dev/dxg)", "wsl --update")],
    );
    for (release, command) in [
        (
            UBUNTU,
            "sudo add-apt-repository ppa:kisak/kisak-mesa && sudo apt-get install \
             mesa-vulkan-drivers",
        ),
        (FEDORA, "sudo dnf install mesa-vulkan-drivers"),
        (ARCH, "sudo pacman -S vulkan-dzn"),
        (DEBIAN, ""),
    ] {
        let facts = system(&[&[release, LOADER, WSL, gpu]], &[]);
        lacks(&facts, &[("Mesa's driver dzn", command)]);
    }
    lacks(&system(&[&[UBUNTU, LOADER, WSL, gpu], &dzn], &[]), &[]);
}

/// With a GPU that works, what another one lacks is a warning.
#[test]
fn a_second_gpu_is_a_warning() {
    let mut facts = system(&[&[ARCH, NODE, LOADER], &AMD, &INTEL, &RADEON], &[]);
    lacks(
        &facts,
        &[("Intel has no Vulkan driver", "sudo pacman -S vulkan-intel")],
    );
    facts.adapters = vec![Adapter {
        line: "0: Radeon (discrete-gpu, vulkan)".to_owned(),
        driver: "radv".to_owned(),
        software: false,
    }];
    lacks(&facts, &[]);
    let all = findings(&facts);
    let warns = |finding: &&Finding| finding.level == Level::Warning;
    let warnings: Vec<&str> = all.iter().filter(warns).map(|f| f.text.as_str()).collect();
    assert_eq!(warnings, ["the GPU of Intel has no Vulkan driver"]);
    assert_eq!(
        all[0].text,
        "best available: adapter 0: Radeon (discrete-gpu, vulkan)"
    );
}

#[test]
fn a_software_adapter_only() {
    let mut facts = system(&[&[DEBIAN, LOADER]], &[]);
    facts.adapters = vec![Adapter {
        line: "0: llvmpipe (cpu, vulkan)".to_owned(),
        driver: "llvmpipe".to_owned(),
        software: true,
    }];
    let all = findings(&facts);
    let warned = all.iter().find(|finding| finding.level == Level::Warning);
    assert!(
        warned.unwrap().text.contains("slower than --device cpu"),
        "{all:?}"
    );
    assert_eq!(all[0].text, "best available: CPU (4 threads, AVX2)");
}

#[test]
fn other_systems() {
    for (name, word) in [
        ("windows", "Direct3D 12"),
        ("macos", "Metal"),
        ("plan9", "plan9"),
    ] {
        let facts = Facts {
            system: name.to_owned(),
            ..Facts::default()
        };
        lacks(&facts, &[(word, "")]);
    }
}

#[test]
fn memory_and_folders() {
    let limits = |free: u64, groups: Option<u64>| {
        let facts = Facts {
            memory: Limits {
                total: Some(16 << 30),
                free: Some(free),
                groups,
                address_space: None,
            },
            ..system(&[&[DEBIAN, LOADER]], &[])
        };
        let found = findings(&facts).into_iter();
        let found = found.filter(|finding| finding.text.starts_with("memory"));
        found
            .map(|finding| (finding.level, finding.text))
            .next()
            .unwrap()
    };
    let free = "memory: 8.0 GiB free of 16.0 GiB".to_owned();
    assert_eq!(limits(8 << 30, None), (Level::Ok, free.clone()));
    assert_eq!(limits(8 << 30, Some(9 << 30)), (Level::Ok, free));
    let (level, text) = limits(8 << 30, Some(512 << 20));
    assert_eq!(level, Level::Warning);
    assert!(
        text.contains("container") && text.contains("512.0 MiB"),
        "{text}"
    );

    let facts = Facts {
        folders: vec![Folder {
            purpose: "cache",
            path: Path::new("/srv/cache").to_owned(),
            error: Some("Permission denied".to_owned()),
        }],
        ..system(&[&[DEBIAN, LOADER]], &[])
    };
    lacks(&facts, &[("nothing can be written to /srv/cache", "")]);
}
