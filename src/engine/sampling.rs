//! How often a kernel runs to be timed.
//!
//! A submission costs tens of microseconds, as much as a fast kernel, so fast kernels run many times
//! in one. Slow ones, as on software adapters, run once.

/// Seconds that the runs of a submission should take.
const SAMPLE: f64 = 0.0015;

/// Maximum number of dispatches in a submission of several runs: enough for fast kernels, and few to
/// record.
const MOST: usize = 128;

/// Number of samples, of which the fastest counts.
const SAMPLES: usize = 2;

/// A candidate is not sampled further if it takes this many times the best time.
const DROP: f64 = 1.5;

/// Seconds per run of so many dispatches. `watch` runs them so many times in one submission and
/// returns the seconds from submission to end, of which an empty submission takes `latency`. What
/// takes much longer than `best` is timed roughly.
///
/// # Errors
/// Those of `watch`.
pub(super) fn seconds_per_run<E>(
    dispatches: usize,
    latency: f64,
    best: f64,
    mut watch: impl FnMut(usize) -> Result<f64, E>,
) -> Result<f64, E> {
    // Not counted: memory is touched, and some drivers compile.
    watch(1)?;
    let first = watch(1)?;
    let mut least = (first - latency).max(0.0);
    // One run also measures the jitter of a submission, which is about its latency.
    if least > DROP * best + latency {
        return Ok(least);
    }
    for sample in 0..SAMPLES {
        let runs = runs(least, MOST / dispatches.max(1));
        let seconds = (watch(runs)? - latency).max(0.0) / runs as f64;
        least = match sample {
            0 => seconds,
            _ => least.min(seconds),
        };
        if least > DROP * best {
            break;
        }
    }
    Ok(least)
}

/// Runs that take [`SAMPLE`], but not more than `most`; at least one.
fn runs(seconds: f64, most: usize) -> usize {
    // Infinitely many if the time was too short to measure.
    let runs = (SAMPLE / seconds).ceil().min(most as f64);
    (runs as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: f64 = 1e-4;

    /// Samples a kernel that takes so long; returns the result and the runs of each submission.
    fn sample(kernel: f64, best: f64) -> (f64, Vec<usize>) {
        let mut submissions = Vec::new();
        let seconds = seconds_per_run(1, LATENCY, best, |runs| {
            submissions.push(runs);
            // The first run of all is slow.
            let extra = if submissions.len() == 1 { 1.0 } else { 0.0 };
            Ok::<f64, ()>(extra + LATENCY + runs as f64 * kernel)
        });
        (seconds.unwrap(), submissions)
    }

    #[test]
    fn fast_kernels_share_a_submission_and_slow_ones_run_few_times() {
        for kernel in [0.0, 1e-7, 1e-6, 1e-5, 2.9e-5] {
            let (seconds, submissions) = sample(kernel, f64::INFINITY);
            assert!((seconds - kernel).abs() < 1e-9, "{seconds} for {kernel}");
            assert_eq!(submissions[..2], [1, 1]);
            let samples = &submissions[2..];
            assert_eq!(samples.len(), SAMPLES);
            assert!(
                samples.iter().all(|runs| *runs >= 50),
                "{kernel}: {samples:?}"
            );
        }
        let (_, submissions) = sample(3e-3, f64::INFINITY);
        assert_eq!(submissions, [1; 2 + SAMPLES]);
    }

    #[test]
    fn a_run_of_many_dispatches_is_repeated_less() {
        for (dispatches, most) in [(2, MOST / 2), (MOST / 2, 2), (2 * MOST, 1)] {
            let mut largest = 0;
            let seconds = seconds_per_run(dispatches, LATENCY, 1.0, |runs| {
                largest = largest.max(runs);
                Ok::<f64, ()>(LATENCY)
            });
            assert_eq!((seconds, largest), (Ok(0.0), most));
        }
    }

    /// The time of all submissions stays near that of the samples.
    #[test]
    fn sampling_takes_little_time() {
        for kernel in [1e-6, 1e-5, 1e-4, 1e-3] {
            let (_, submissions) = sample(kernel, f64::INFINITY);
            let runs: usize = submissions.iter().sum();
            let limit = SAMPLES as f64 * SAMPLE + 5.0 * kernel;
            assert!(runs as f64 * kernel < limit, "{kernel}: {submissions:?}");
        }
    }

    #[test]
    fn slower_candidates_are_dropped() {
        let (seconds, submissions) = sample(4e-3, 2e-3);
        assert_eq!(submissions, [1, 1]);
        assert!((seconds - 4e-3).abs() < 1e-9);
        // Within the jitter of a submission, more runs decide.
        let (_, submissions) = sample(4e-5, 2e-5);
        assert_eq!(submissions.len(), 3);
        let (_, submissions) = sample(2.5e-5, 2e-5);
        assert_eq!(submissions.len(), 4);
    }
}
