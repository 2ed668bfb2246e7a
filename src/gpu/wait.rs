//! Waiting for a device, natively.
//!
//! wgpu 30 panics where a wait finds that the device is lost, after it has called the device's lost
//! callback. That panic becomes an error here, without a message of its own.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use super::GpuError;

thread_local! {
    /// Whether this thread waits, so that a panic needs no message.
    static WAITING: Cell<bool> = const { Cell::new(false) };
}

/// Blocks until a submission (all, if `None`) is done.
///
/// # Errors
/// [`GpuError::Lost`]. If the lost callback has been called it knows the reason.
pub(super) fn wait(
    device: &wgpu::Device,
    submission: Option<wgpu::SubmissionIndex>,
) -> Result<(), GpuError> {
    let wait = wgpu::PollType::Wait {
        submission_index: submission,
        timeout: None,
    };
    let accepted = without_panic(|| device.poll(wait)).is_some_and(|polled| polled.is_ok());
    match accepted {
        true => Ok(()),
        false => Err(GpuError::Lost("it accepts no more work".to_owned())),
    }
}

/// The result of `call`; `None` if it panics.
fn without_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !WAITING.get() {
                previous(info);
            }
        }));
    });
    WAITING.set(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    WAITING.set(false);
    result.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_the_call_is_no_result() {
        assert_eq!(without_panic(|| 3), Some(3));
        assert_eq!(
            without_panic(|| -> u32 { panic!("Error in Device::poll") }),
            None
        );
        assert!(!WAITING.get());
    }
}
