//! Timing of repeated work, and statistics of the samples.
//!
//! Work on an adapter is timed from the first submission to the completion of the last one, over
//! enough runs to amortise the final wait.

use crate::engine::EngineError;

/// Runs some work the given number of times, waits for its completion, and returns the seconds
/// per run.
pub(super) type Stopwatch<'a> = dyn FnMut(u32) -> Result<f64, EngineError> + 'a;

/// The number of runs that together take at least `seconds`. Finding it also warms the adapter up.
///
/// The first run does not count, because some drivers compile lazily.
pub(super) fn runs_for(seconds: f64, watch: &mut Stopwatch<'_>) -> Result<u32, EngineError> {
    watch(1)?;
    let mut runs = 1;
    loop {
        let took = watch(runs)? * f64::from(runs);
        if took >= seconds {
            return Ok(runs);
        }
        // Early samples are unreliable, so the number grows by a factor of 16 at most.
        let wanted = (f64::from(runs) * seconds / took.max(1e-9)).ceil();
        runs = wanted.clamp(f64::from(runs + 1), f64::from(runs.saturating_mul(16))) as u32;
    }
}

/// Minimum number of samples.
const FEWEST: usize = 5;

/// Minimum seconds per run over `seconds` of samples, five at least, each at least `sample` seconds
/// long. The minimum excludes disturbances.
pub(super) fn best(
    seconds: f64,
    sample: f64,
    watch: &mut Stopwatch<'_>,
) -> Result<f64, EngineError> {
    let runs = runs_for(sample, watch)?;
    let (mut best, mut spent, mut samples) = (f64::INFINITY, 0.0, 0);
    while samples < FEWEST || spent < seconds {
        let took = watch(runs)?;
        best = best.min(took);
        spent += took * f64::from(runs);
        samples += 1;
    }
    Ok(best)
}

/// A quantile of the samples, with linear interpolation; `share` is between 0 and 1.
///
/// # Panics
/// If there are no samples.
pub(super) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = share * (sorted.len() - 1) as f64;
    let (below, above) = (rank.floor() as usize, rank.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}

pub(super) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&samples), 2.5);
        assert_eq!(quantile(&samples, 0.25), 1.75);
        assert_eq!(quantile(&samples, 1.0), 4.0);
        assert_eq!(median(&[7.0]), 7.0);
    }

    #[test]
    fn short_work_is_run_until_it_fills_the_sample() {
        let mut asked = Vec::new();
        let runs = runs_for(0.05, &mut |runs| {
            asked.push(runs);
            Ok(1e-3)
        });
        assert_eq!(runs, Ok(50));
        assert_eq!(asked, [1, 1, 16, 50]);
        assert_eq!(runs_for(0.05, &mut |_| Ok(2.0)), Ok(1));
    }

    #[test]
    fn the_best_sample_counts_and_the_first_runs_do_not() {
        let times = [1.0, 2.0, 5.0, 4.0, 8.0, 7.0, 6.0, 3.0];
        for (seconds, expected) in [(0.0, 4.0), (30.5, 3.0)] {
            let mut times = times.into_iter();
            let best = best(seconds, 1.0, &mut |_| {
                Ok(times.next().expect("enough runs"))
            });
            assert_eq!(best, Ok(expected));
        }
    }
}
