//! The lock of a run directory: one process writes to it at a time.
//!
//! It is a lock of the operating system on the file `lock`, so it ends with its process, however
//! that ends. The file holds the number of the process that took the lock last; on Windows nobody
//! else can read it while the lock is held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Name of the file in the run directory.
pub(super) const LOCK: &str = "lock";

/// A lock; dropping it releases it.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    /// Why the lock is not held: some network file systems have no locks.
    pub(super) unsupported: Option<io::Error>,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process holds it; its number, if that can be read.
    Held(Option<u32>),
    /// The file cannot be created or opened.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock of a directory.
    pub(super) fn take(directory: &Path) -> Result<Lock, LockError> {
        let open = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(directory.join(LOCK));
        let mut file = open.map_err(LockError::Io)?;
        let unsupported = match file.try_lock() {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => Some(error),
        };
        Ok(Lock { file, unsupported })
    }

    /// Writes the number of this process to the file.
    pub(super) fn write_holder(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "{}", std::process::id())
    }
}

/// The number of the process that holds the lock.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = Lock::take(directory.path()).unwrap();
        first.write_holder().unwrap();
        let second = Lock::take(directory.path()).unwrap_err();
        let LockError::Held(holder) = second else {
            panic!("{second:?}");
        };
        if cfg!(unix) {
            assert_eq!(holder, Some(std::process::id()));
        }
        drop(first);
        Lock::take(directory.path()).unwrap();
    }
}
