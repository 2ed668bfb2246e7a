//! Files in the user's cache directory: kernel choices, compiled pipelines and listings of folders.
//!
//! A file that cannot be read or written only costs time, so such errors are ignored.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{is_temporary, write_atomically};
use crate::data::Cache;
use crate::gpu::Gpu;
use crate::rng::hash;

fn path(name: &str) -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("pyr-wgpu").join(name))
}

/// The bytes of a cached file; `None` if it cannot be read.
pub(super) fn read(name: &str) -> Option<Vec<u8>> {
    fs::read(path(name)?).ok()
}

/// Writes a file to the cache.
pub(super) fn write(name: &str, bytes: &[u8]) {
    let Some(path) = path(name) else { return };
    if let Some(directory) = path.parent() {
        drop(fs::create_dir_all(directory));
        remove_leftovers(directory);
    }
    drop(write_atomically(&path, |writer| writer.write_all(bytes)));
}

/// The cache of listings of large folders.
pub(super) fn listings() -> Option<Arc<dyn Cache>> {
    Some(Arc::new(Checked))
}

/// Cached files with a checksum.
struct Checked;

impl Cache for Checked {
    fn read(&self, name: &str) -> Option<Vec<u8>> {
        read(name).and_then(without_checksum)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        write(name, &with_checksum(bytes));
    }
}

/// Removes the temporary files of killed processes: those that are too old to be in use.
fn remove_leftovers(directory: &Path) {
    let is_leftover = |entry: &fs::DirEntry| {
        let age = entry.metadata().ok()?.modified().ok()?.elapsed().ok()?;
        let is_old = age > Duration::from_secs(24 * 3600);
        Some(is_old && is_temporary(entry.file_name().to_str()?))
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if is_leftover(&entry) == Some(true) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

/// Gives a device the pipeline cache of earlier processes, and stores its cache for later ones.
pub(super) fn keep_pipelines(gpu: &Gpu) {
    let Some(key) = gpu.pipelines_key() else {
        return;
    };
    let name = format!("{key}.bin");
    let cached = read(&name).and_then(without_checksum);
    let keep = move |bytes: &[u8]| write(&name, &with_checksum(bytes));
    // SAFETY: the checksum matches, so the bytes are those that a device passed to `keep`.
    unsafe { gpu.keep_pipelines(cached.as_deref(), Box::new(keep)) };
}

/// The bytes, followed by a checksum that reveals damage.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    [bytes, &checksum(bytes).to_le_bytes()].concat()
}

/// The bytes before the checksum, if it matches.
fn without_checksum(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let end = file.len().checked_sub(8)?;
    let stored = file.split_off(end);
    (stored == checksum(&file).to_le_bytes()).then_some(file)
}

fn checksum(bytes: &[u8]) -> u64 {
    hash(bytes.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_reveals_damage() {
        let file = with_checksum(b"pipelines");
        let whole = without_checksum(file.clone());
        assert_eq!(whole.as_deref(), Some(&b"pipelines"[..]));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(without_checksum(damaged), None);
            assert_eq!(without_checksum(file[..at].to_vec()), None);
        }
    }
}
