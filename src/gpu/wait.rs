//! Waiting for a device, which browsers cannot.
//!
//! wgpu 30 panics where a wait finds that the device is lost, after it has called the device's lost
//! callback. That panic ends here, without a message. Any other panic goes on: a wait also runs the
//! callbacks of buffers and submissions.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

thread_local! {
    /// While this thread waits: whether the device is lost, so that a panic needs no message.
    static WAITS_FOR: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Blocks until a submission (all, if `None`) is done, or the device is lost; its lost callback
/// sets `lost`.
///
/// # Errors
/// If wgpu cannot wait for the submission.
pub(super) fn wait(
    device: &wgpu::Device,
    submission: Option<wgpu::SubmissionIndex>,
    lost: &Arc<AtomicBool>,
) -> Result<(), wgpu::PollError> {
    let wait = wgpu::PollType::Wait {
        submission_index: submission,
        timeout: None,
    };
    unless_lost(lost, || device.poll(wait)).map_or(Ok(()), |polled| polled.map(drop))
}

/// The result of `call`; `None` if it panics because the device is lost.
fn unless_lost<T>(lost: &Arc<AtomicBool>, call: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_lost = |lost: &Arc<AtomicBool>| lost.load(Ordering::Relaxed);
            if !WAITS_FOR.with_borrow(|device| device.as_ref().is_some_and(is_lost)) {
                previous(info);
            }
        }));
    });
    WAITS_FOR.set(Some(Arc::clone(lost)));
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    WAITS_FOR.set(None);
    match result {
        Ok(result) => Some(result),
        Err(_) if lost.load(Ordering::Relaxed) => None,
        Err(panic) => panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_panic_of_a_lost_device_ends_here() {
        let lost = Arc::new(AtomicBool::new(false));
        assert_eq!(unless_lost(&lost, || 3), Some(3));
        let bug = || unless_lost(&lost, || -> u32 { panic!("a bug in a callback") });
        let bug = panic::catch_unwind(bug).unwrap_err();
        assert_eq!(bug.downcast_ref(), Some(&"a bug in a callback"));
        let poll = || -> u32 {
            lost.store(true, Ordering::Relaxed);
            panic!("Error in Device::poll")
        };
        assert_eq!(unless_lost(&lost, poll), None);
        assert!(WAITS_FOR.take().is_none());
    }
}
