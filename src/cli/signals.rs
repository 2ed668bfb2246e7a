//! Signals that ask a run to save and stop: Ctrl-C, SIGTERM, and SIGHUP of a closed terminal.
//!
//! A second Ctrl-C or SIGTERM ends the process at once. A second SIGHUP does not, since a terminal
//! that closes sends several; a run started with SIGHUP ignored, as by `nohup`, keeps ignoring it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use super::error::CliError;

/// What the signal handlers record.
pub(super) struct Signals {
    /// Exit code of the signal that arrived; 0 for none.
    asked: Arc<AtomicUsize>,
}

impl Signals {
    /// Installs the handlers.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub(super) fn install() -> Result<Signals, CliError> {
        let asked = Arc::new(AtomicUsize::new(0));
        let install = || -> io::Result<()> {
            let armed = Arc::new(AtomicBool::new(false));
            for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
                // Order matters: the shutdown checks the flag before this signal sets it.
                flag::register_conditional_shutdown(signal, code, Arc::clone(&armed))?;
                flag::register(signal, Arc::clone(&armed))?;
                flag::register_usize(signal, Arc::clone(&asked), code as usize)?;
            }
            #[cfg(unix)]
            if !hangup::is_ignored() {
                flag::register_usize(hangup::SIGHUP, Arc::clone(&asked), 129)?;
            }
            Ok(())
        };
        install().map_err(|e| CliError::Failed(format!("signal handler: {e}")))?;
        Ok(Signals { asked })
    }

    /// Exit code of the signal that arrived, if any.
    pub(super) fn asked(&self) -> Option<u8> {
        match self.asked.load(Ordering::Relaxed) {
            0 => None,
            code => Some(code as u8),
        }
    }
}

/// Makes writing more than `ulimit -f` allows an error; without a handler of its signal, it would
/// end the process.
pub(super) fn survive_file_limit() {
    #[cfg(unix)]
    let installed = flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    // Without the handler, everything else still works.
    #[cfg(unix)]
    drop(installed);
}

#[cfg(unix)]
mod hangup {
    pub(super) use signal_hook::consts::SIGHUP;

    /// Whether the process was started with SIGHUP ignored.
    pub(super) fn is_ignored() -> bool {
        // SAFETY: all zeros is a valid `sigaction`, and without a new action the call only writes
        // the present one to it.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let read = libc::sigaction(SIGHUP, std::ptr::null(), &mut action) == 0;
            read && action.sa_sigaction == libc::SIG_IGN
        }
    }
}
