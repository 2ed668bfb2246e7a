//! The lock of a run directory: one process writes to it at a time.
//!
//! It is a lock of the operating system on the file `lock`, so it ends with its process, however
//! that ends. The file holds the number of the process that took the lock last; on Windows nobody
//! else can read it while the lock is held.

#[cfg(unix)]
use std::fs::{self, Metadata};
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

/// What has become of a locked file.
#[derive(Debug, PartialEq)]
pub(super) enum LockState {
    /// It is still that of the directory.
    Held,
    /// It was removed.
    Removed,
    /// It was removed, and another process has locked a new one; its number, if that can be read.
    /// That process may have ended.
    Replaced(Option<u32>),
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
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        // Without the right to delete, which Rust grants to others by default.
        #[cfg(windows)]
        std::os::windows::fs::OpenOptionsExt::share_mode(&mut options, 0x1 | 0x2);
        let mut file = options.open(directory.join(LOCK)).map_err(LockError::Io)?;
        let unsupported = match file.try_lock() {
            Ok(()) => None,
            Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder_of(&mut file))),
            Err(TryLockError::Error(error)) => Some(error),
        };
        Ok(Lock { file, unsupported })
    }

    /// What has become of the locked file. On Windows nobody can remove it.
    pub(super) fn state_in(&self, directory: &Path) -> LockState {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let path = directory.join(LOCK);
            let inode = |file: Metadata| (file.dev(), file.ino());
            match fs::metadata(&path) {
                Ok(named) if self.file.metadata().ok().map(inode) != Some(inode(named.clone())) => {
                    let holder = File::open(&path).ok();
                    LockState::Replaced(holder.and_then(|mut file| holder_of(&mut file)))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => LockState::Removed,
                _ => LockState::Held,
            }
        }
        #[cfg(not(unix))]
        match directory.join(LOCK).exists() {
            true => LockState::Held,
            false => LockState::Removed,
        }
    }

    /// Writes the number of this process to the file.
    pub(super) fn write_holder(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        writeln!(self.file, "{}", std::process::id())
    }
}

/// The number of the process that holds the lock.
fn holder_of(file: &mut File) -> Option<u32> {
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

    #[cfg(unix)]
    #[test]
    fn a_removed_lock_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let first = Lock::take(directory.path()).unwrap();
        assert_eq!(first.state_in(directory.path()), LockState::Held);
        fs::remove_file(directory.path().join(LOCK)).unwrap();
        assert_eq!(first.state_in(directory.path()), LockState::Removed);
        let mut second = Lock::take(directory.path()).unwrap();
        second.write_holder().unwrap();
        assert_eq!(second.state_in(directory.path()), LockState::Held);
        // Also after the other process has ended.
        drop(second);
        let replaced = LockState::Replaced(Some(std::process::id()));
        assert_eq!(first.state_in(directory.path()), replaced);
    }
}
