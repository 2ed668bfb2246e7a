//! How much memory this process can still use.
//!
//! Linux grants allocations that it cannot hold and ends the process when they are used, so large
//! needs are compared with [`available`] before anything is allocated. Windows refuses such an
//! allocation and macOS swaps; there the system is not asked, and what is large is allocated by
//! functions that return an error.

use std::fmt;

use bytemuck::Zeroable;

/// A need of memory that cannot be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct OutOfMemory {
    /// Bytes needed.
    pub needed: u64,
    /// Bytes available, if known.
    pub available: Option<u64>,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of memory are needed", bytes(self.needed))?;
        match self.available {
            Some(available) => write!(f, ", {} are available", bytes(available)),
            None => write!(f, ", more than the system gives"),
        }
    }
}

/// Bytes with a binary unit.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

/// Checks that a need can be met.
///
/// # Errors
/// If more is needed than [`available`].
pub fn check(needed: u64) -> Result<(), OutOfMemory> {
    let available = available();
    match available.is_some_and(|available| available < needed) {
        true => Err(OutOfMemory { needed, available }),
        false => Ok(()),
    }
}

/// A vector of zeros.
///
/// # Errors
/// If the system does not give the memory.
pub fn zeros<T: Zeroable>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    bytemuck::allocation::try_zeroed_vec(len).map_err(|()| OutOfMemory {
        needed: (len as u64).saturating_mul(size_of::<T>() as u64),
        available: None,
    })
}

/// Bytes that this process can still use: on Linux the least of free memory, the limits of its
/// control groups and its limit of address space; in WebAssembly the whole address space. `None`
/// where the system is not asked.
pub fn available() -> Option<u64> {
    #[cfg(target_os = "linux")]
    return linux::available();
    #[cfg(not(target_os = "linux"))]
    cfg!(target_arch = "wasm32").then_some(1 << 32)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::path::{Path, PathBuf};

    pub(super) fn available() -> Option<u64> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let free = kibibytes(&read("/proc/meminfo"), "MemAvailable:");
        let space = address_space(&read("/proc/self/limits"), &read("/proc/self/status"));
        let groups = control_groups(&read("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
        groups.into_iter().chain(free).chain(space).min()
    }

    /// The field of a line such as `MemAvailable:  1234 kB`, in bytes.
    fn kibibytes(text: &str, name: &str) -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        let number: u64 = rest.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(number << 10)
    }

    /// What `ulimit -v` leaves, if it is set.
    fn address_space(limits: &str, status: &str) -> Option<u64> {
        let mut lines = limits.lines();
        let rest = lines.find_map(|line| line.strip_prefix("Max address space"))?;
        let limit: u64 = rest.split_whitespace().next()?.parse().ok()?;
        Some(limit.saturating_sub(kibibytes(status, "VmSize:")?))
    }

    /// What each control group of the process leaves, its parents included. `listed` has lines
    /// such as `4:memory:/user/shell` (version 1) and `0::/user/shell` (version 2).
    fn control_groups(listed: &str, mount: &Path) -> Vec<u64> {
        let groups = listed.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let (root, names) = match controllers {
                "" => (mount.to_owned(), VERSION_2),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    (mount.join("memory"), VERSION_1)
                }
                _ => return None,
            };
            Some((root, path.trim_start_matches('/').to_owned(), names))
        });
        let left = groups.flat_map(|(root, path, names)| {
            let parents: Vec<PathBuf> =
                Path::new(&path).ancestors().map(|p| root.join(p)).collect();
            parents
                .into_iter()
                .filter_map(move |group| left(&group, names))
        });
        left.collect()
    }

    /// Names of a group's files with its limit and its use, and of the field of `memory.stat` with
    /// the part of the use that is cached files.
    type Names = [&'static str; 3];
    const VERSION_1: Names = [
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ];
    const VERSION_2: Names = ["memory.max", "memory.current", "inactive_file"];

    fn left(group: &Path, [limit, used, cached]: Names) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let (limit, used) = (number(limit)?, number(used)?);
        let statistics = read("memory.stat").unwrap_or_default();
        let cached = statistics.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            (name == cached).then(|| value.parse::<u64>().ok())?
        });
        Some(limit.saturating_sub(used.saturating_sub(cached.unwrap_or(0))))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_files_of_the_system_are_understood() {
            let meminfo = "MemTotal:       24684092 kB\nMemAvailable:   21075132 kB\n";
            assert_eq!(kibibytes(meminfo, "MemAvailable:"), Some(21_075_132 << 10));
            let limits = "Limit           Soft Limit  Hard Limit  Units\n\
                          Max address space  4096000  unlimited  bytes\n";
            assert_eq!(
                address_space(limits, "VmSize:\t  1000 kB\n"),
                Some(3_072_000)
            );
            let unlimited = limits.replace("4096000", "unlimited");
            assert_eq!(address_space(&unlimited, "VmSize:\t  1000 kB\n"), None);
        }

        #[test]
        fn groups_of_both_versions_and_their_parents_count() {
            let mount = tempfile::tempdir().unwrap();
            let write = |path: &str, text: &str| {
                let path = mount.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            };
            write("a/memory.max", "1000\n");
            write("a/memory.current", "600\n");
            write("a/memory.stat", "anon 1\ninactive_file 100\n");
            write("a/b/memory.max", "max\n");
            write("a/b/memory.current", "600\n");
            assert_eq!(control_groups("0::/a/b\n", mount.path()), [500]);
            write("memory/c/memory.limit_in_bytes", "300\n");
            write("memory/c/memory.usage_in_bytes", "400\n");
            let listed = "5:cpu,memory:/c\n1:cpu:/a\n";
            assert_eq!(control_groups(listed, mount.path()), [0]);
        }

        #[test]
        fn this_system_says_something() {
            assert!(available().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
