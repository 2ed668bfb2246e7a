//! Ctrl-C and SIGTERM: the first makes the run save and stop, the second ends it at once.

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
        let armed = Arc::new(AtomicBool::new(false));
        for (signal, code) in [(SIGINT, 130), (SIGTERM, 143)] {
            // Order matters: the shutdown checks the flag before this signal sets it.
            flag::register_conditional_shutdown(signal, code, Arc::clone(&armed))
                .and_then(|_| flag::register(signal, Arc::clone(&armed)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&asked), code as usize))
                .map_err(|e| CliError::Failed(format!("signal handler: {e}")))?;
        }
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
