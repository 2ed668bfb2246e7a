//! Where the Vulkan loader looks on Linux: driver manifests and libraries. Shared with `xtask`.

use std::path::{Path, PathBuf};

/// A driver manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The file.
    pub(super) path: PathBuf,
    /// The library that it names; `None` if the file cannot be read or names none.
    pub(super) library: Option<String>,
    /// Whether that library was found.
    pub(super) found: bool,
}

/// The libraries of a system.
#[derive(Clone, Debug, Default)]
pub(super) struct Libraries {
    /// What `ldconfig -p` prints.
    pub(super) cached: String,
    /// Folders that are searched beside.
    pub(super) folders: Vec<PathBuf>,
}

/// The Vulkan loader.
pub(super) const LOADER: &str = "libvulkan.so.1";

/// The variables that replace the search for drivers, the current one and its old name.
const DRIVER_VARIABLES: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

impl Libraries {
    /// The libraries below a root, for a value of `LD_LIBRARY_PATH`.
    pub(super) fn new(root: &Path, cached: String, variable: &str) -> Libraries {
        let architecture = std::env::consts::ARCH;
        let usual = [
            "/usr/lib".to_owned(),
            "/usr/lib64".to_owned(),
            "/usr/local/lib".to_owned(),
            format!("/usr/lib/{architecture}-linux-gnu"),
            "/run/opengl-driver/lib".to_owned(),
            "/usr/lib/wsl/lib".to_owned(),
        ];
        let named = variable.split(':').filter(|path| !path.is_empty());
        let all = named.chain(usual.iter().map(String::as_str));
        Libraries {
            folders: all.map(|path| below(root, Path::new(path))).collect(),
            cached,
        }
    }

    /// Whether the dynamic linker would find a library.
    pub(super) fn have(&self, name: &str) -> bool {
        let is_cached = |line: &str| line.split_whitespace().next() == Some(name);
        self.cached.lines().any(is_cached) || self.folders.iter().any(|f| f.join(name).exists())
    }
}

/// The manifests that the loader would read below a root, and the variable that restricts them, if
/// one does.
pub(super) fn manifests(
    root: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
    libraries: &Libraries,
) -> (Vec<Manifest>, Option<&'static str>) {
    let environment = |name: &str| environment(name).filter(|value| !value.is_empty());
    let mut variables = DRIVER_VARIABLES.into_iter();
    let variable = variables.find(|name| environment(name).is_some());
    let places = match variable.and_then(environment) {
        Some(value) => value.split(':').map(PathBuf::from).collect(),
        None => places(environment),
    };
    let mut found = Vec::new();
    for place in places {
        for path in files(&below(root, &place)) {
            if found
                .iter()
                .all(|manifest: &Manifest| manifest.path != path)
            {
                found.push(manifest(root, path, libraries));
            }
        }
    }
    (found, variable)
}

/// Files and folders of manifests, in the loader's order, and where NixOS keeps them.
fn places(environment: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let home = |below: &str| environment("HOME").map(|home| format!("{home}/{below}"));
    let bases = [
        environment("XDG_CONFIG_HOME").or_else(|| home(".config")),
        Some(environment("XDG_CONFIG_DIRS").unwrap_or_else(|| "/etc/xdg".to_owned())),
        Some("/etc:/usr/local/etc".to_owned()),
        environment("XDG_DATA_HOME").or_else(|| home(".local/share")),
        Some(environment("XDG_DATA_DIRS").unwrap_or_default()),
        Some("/usr/local/share:/usr/share:/run/opengl-driver/share".to_owned()),
        environment("VK_ADD_DRIVER_FILES"),
    ];
    let mut places = Vec::new();
    for base in bases.iter().flatten() {
        for path in base.split(':').filter(|path| !path.is_empty()) {
            places.push(match path.ends_with(".json") {
                true => PathBuf::from(path),
                false => Path::new(path).join("vulkan/icd.d"),
            });
        }
    }
    places
}

/// The manifests of a folder in order of their names, or a file itself.
fn files(place: &Path) -> Vec<PathBuf> {
    let is_manifest = |path: &PathBuf| path.extension().is_some_and(|e| e == "json");
    let mut files: Vec<PathBuf> = match std::fs::read_dir(place) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![place.to_owned()],
    };
    files.retain(|path| is_manifest(path) && path.exists());
    files.sort();
    files
}

fn manifest(root: &Path, path: PathBuf, libraries: &Libraries) -> Manifest {
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let library = library(&text);
    let found = library.as_ref().is_some_and(|name| {
        let named = Path::new(name);
        let folder = path.parent().unwrap_or(Path::new(""));
        match (name.contains('/'), named.is_absolute()) {
            // A bare name is left to the dynamic linker.
            (false, _) => libraries.have(name),
            (true, true) => below(root, named).exists(),
            (true, false) => folder.join(named).exists(),
        }
    });
    Manifest {
        path,
        library,
        found,
    }
}

/// The `library_path` of a manifest.
fn library(json: &str) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_str(json).ok()?;
    Some(manifest["ICD"]["library_path"].as_str()?.to_owned())
}

/// A path of a system whose root is a folder.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_searched_where_the_loader_searches() {
        let environment = |name: &str| {
            let value = match name {
                "HOME" => "/users/ada",
                "XDG_DATA_DIRS" => "/opt/share:/usr/share",
                "VK_ADD_DRIVER_FILES" => "/opt/own.json",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let places = places(environment);
        for wanted in [
            "/etc/vulkan/icd.d",
            "/usr/share/vulkan/icd.d",
            "/usr/local/share/vulkan/icd.d",
            "/opt/share/vulkan/icd.d",
            "/users/ada/.local/share/vulkan/icd.d",
            "/users/ada/.config/vulkan/icd.d",
            "/opt/own.json",
        ] {
            let wanted = PathBuf::from(wanted);
            assert!(places.contains(&wanted), "{wanted:?}: {places:?}");
        }
    }

    #[test]
    fn a_manifest_counts_when_its_library_exists() {
        let root = std::env::temp_dir().join(format!("pyr-wgpu-icd-{}", std::process::id()));
        let folder = root.join("usr/share/vulkan/icd.d");
        std::fs::create_dir_all(&folder).unwrap();
        let write = |library: &str| {
            let json = format!(r#"{{"ICD": {{"library_path": "{library}"}}}}"#);
            std::fs::write(folder.join("driver.json"), json).unwrap();
        };
        let search = |environment: &dyn Fn(&str) -> Option<String>| {
            let cached = "\tlibcached.so (libc6,x86-64) => /lib/libcached.so\n".to_owned();
            let libraries = Libraries::new(&root, cached, "/own");
            manifests(&root, environment, &libraries)
        };
        let none = |_: &str| None;
        assert_eq!(search(&none), (vec![], None), "an empty folder");
        for (library, there) in [
            ("../lib/there.so", "usr/share/vulkan/lib/there.so"),
            ("/opt/there.so", "opt/there.so"),
            ("there.so", "own/there.so"),
        ] {
            write(library);
            assert!(!search(&none).0[0].found, "{library} does not exist yet");
            let file = root.join(there);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
            assert!(search(&none).0[0].found, "{library}");
        }
        write("libcached.so");
        assert!(search(&none).0[0].found, "ldconfig lists it");
        let hidden = |name: &str| (name == "VK_DRIVER_FILES").then(|| "/no.json".to_owned());
        assert_eq!(search(&hidden), (vec![], Some("VK_DRIVER_FILES")));
        std::fs::write(folder.join("driver.json"), "not JSON").unwrap();
        let broken = &search(&none).0[0];
        assert_eq!((&broken.library, broken.found), (&None, false));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
