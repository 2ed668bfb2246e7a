//! Whether the process was started with stdout closed, as by `>&-`.
//!
//! The standard library opens `/dev/null` in its place before `main`, so that results would vanish
//! without an error. A function in the program's table of initialisers runs before that; other
//! systems than Linux have other tables.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static CLOSED: AtomicBool = AtomicBool::new(false);

#[cfg(target_os = "linux")]
#[used]
// SAFETY: the section holds pointers to such functions, and this one uses nothing that has to be
// initialised before.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

#[cfg(target_os = "linux")]
extern "C" fn look() {
    // SAFETY: the call only reads the flags of a descriptor, and fails if it is closed.
    let is_closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Checks that the process was started with stdout open.
///
/// # Errors
/// If it was not.
pub(super) fn check() -> io::Result<()> {
    match CLOSED.load(Ordering::Relaxed) {
        true => Err(io::Error::other("it was closed when the program started")),
        false => Ok(()),
    }
}
