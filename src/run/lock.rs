//! The lock of a run directory: one process writes to it at a time.
//!
//! It is a lock of the operating system on the file `lock`, so it ends with its process, however
//! that ends. The file holds the number of the process that took the lock last.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Name of the file in the run directory.
pub(super) const LOCK: &str = "lock";

/// A lock that is held; dropping it releases it.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process holds it; its number, if that can be read.
    Held(Option<u32>),
    /// The file cannot be created, written or locked.
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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&mut file))),
            Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        match written {
            Ok(()) => Ok(Lock { _file: file }),
            Err(error) => Err(LockError::Io(error)),
        }
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
        let first = Lock::take(directory.path()).unwrap();
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
