//! What Linux says about memory, in the files of `/proc` and of control groups.

use std::fs;
use std::path::{Path, PathBuf};

use super::Limits;

pub(super) fn limits() -> Limits {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = read("/proc/meminfo");
    let groups = control_groups(&read("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    Limits {
        total: kibibytes(&memory, "MemTotal:"),
        free: kibibytes(&memory, "MemAvailable:"),
        groups: groups.into_iter().min(),
        address_space: address_space(&read("/proc/self/limits"), &read("/proc/self/status")),
    }
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
        let parents: Vec<PathBuf> = Path::new(&path).ancestors().map(|p| root.join(p)).collect();
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
        let Limits { total, free, .. } = limits();
        assert!(free.is_some_and(|bytes| bytes > 1 << 20) && free < total);
    }
}
