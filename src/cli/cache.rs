//! Files where the system keeps what can be had again: kernel choices, compiled pipelines.
//!
//! A file that cannot be read or written costs time, no more, so nothing is said.

use std::fs;
use std::path::PathBuf;

use crate::checkpoint::write_atomically;
use crate::gpu::Gpu;
use crate::program::fingerprint;

fn path(name: &str) -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("pyr-wgpu").join(name))
}

/// A file's bytes, if it is there.
pub(super) fn read(name: &str) -> Option<Vec<u8>> {
    fs::read(path(name)?).ok()
}

/// Writes a file.
pub(super) fn write(name: &str, bytes: &[u8]) {
    let Some(path) = path(name) else { return };
    if let Some(directory) = path.parent() {
        drop(fs::create_dir_all(directory));
    }
    drop(write_atomically(&path, |writer| writer.write_all(bytes)));
}

/// Lets a device compile with what an earlier process compiled, and keeps what it compiles.
pub(super) fn keep_pipelines(gpu: &Gpu) {
    let Some(key) = gpu.pipelines_key() else {
        return;
    };
    let name = format!("{key}.bin");
    let known = read(&name).and_then(unsealed);
    let keep = move |bytes: &[u8]| write(&name, &sealed(bytes));
    // SAFETY: the seal says that the bytes are those that were handed over.
    unsafe { gpu.keep_pipelines(known.as_deref(), Box::new(keep)) };
}

/// Bytes with their sum behind them, by which a damaged file is known.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &sum(bytes).to_le_bytes()].concat()
}

/// The bytes, if their sum is right.
fn unsealed(mut file: Vec<u8>) -> Option<Vec<u8>> {
    let end = file.len().checked_sub(8)?;
    let seal = file.split_off(end);
    (seal == sum(&file).to_le_bytes()).then_some(file)
}

fn sum(bytes: &[u8]) -> u64 {
    fingerprint(bytes.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_breaks_the_seal() {
        let file = sealed(b"pipelines");
        assert_eq!(unsealed(file.clone()).as_deref(), Some(&b"pipelines"[..]));
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(unsealed(damaged), None);
            assert_eq!(unsealed(file[..at].to_vec()), None);
        }
    }
}
