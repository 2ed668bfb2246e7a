//! Repeats a run that ended because its device was lost.

use std::time::Duration;

use super::super::error::CliError;
use super::super::output::print_message;

/// Time that a driver needs to recover, in slices after which `interrupted` is asked.
const RECOVERY: Duration = Duration::from_secs(5);
const SLICES: u32 = 50;

/// Calls `attempt` until it ends in another way than by the loss of the device, at most `retries`
/// times more than once. `interrupted` returns the exit code of a signal that arrived.
///
/// # Errors
/// The last error of `attempt`, or the signal.
pub(super) fn with_retries<State>(
    retries: u32,
    state: &mut State,
    mut attempt: impl FnMut(&mut State) -> Result<(), CliError>,
    interrupted: impl Fn(&State) -> Option<u8>,
) -> Result<(), CliError> {
    for number in 1.. {
        let error = match attempt(state) {
            Err(error @ CliError::Lost(_)) => error,
            // The driver may need longer.
            Err(error @ CliError::Device(_)) if number > 1 => error,
            ended => return ended,
        };
        if number > retries {
            return Err(error);
        }
        print_message(&format!(
            "warning: {}; attempt {number} of {retries} to continue, in {} s",
            error.message().unwrap_or_default(),
            RECOVERY.as_secs()
        ));
        for _ in 0..SLICES {
            std::thread::sleep(RECOVERY / SLICES);
            if let Some(code) = interrupted(state) {
                return Err(CliError::Stopped(code));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Result<(), CliError> {
        Err(CliError::Lost("the device was lost".to_owned()))
    }

    #[test]
    fn only_the_loss_of_a_device_is_repeated() {
        let ended = |retries, mut ends: Vec<Result<(), CliError>>| {
            let mut attempts = 0;
            let attempt = |attempts: &mut usize| {
                *attempts += 1;
                ends.remove(0)
            };
            let result = with_retries(retries, &mut attempts, attempt, |_| None);
            (attempts, result.err().map(|error| error.code()))
        };
        let device = || Err(CliError::Device("no adapter".to_owned()));
        assert_eq!(ended(0, vec![lost()]), (1, Some(7)));
        assert_eq!(ended(3, vec![device()]), (1, Some(3)));
        assert_eq!(ended(1, vec![lost(), Ok(())]), (2, None));
        assert_eq!(ended(2, vec![lost(), device(), Ok(())]), (3, None));
        assert_eq!(ended(1, vec![lost(), device()]), (2, Some(3)));
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let result = with_retries(9, &mut (), |()| lost(), |()| Some(130));
        assert_eq!(result.unwrap_err().code(), 130);
    }
}
