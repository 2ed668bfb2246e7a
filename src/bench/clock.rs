//! Taking time, and what to make of many times.
//!
//! Work that runs on an adapter is timed from the first submission to the end of the last,
//! over enough runs that the waiting at the end does not count.

use crate::engine::EngineError;

/// Does something a number of times, waits until all of it is done, and says how many
/// seconds one time took.
pub(super) type Stopwatch<'a> = dyn FnMut(u32) -> Result<f64, EngineError> + 'a;

/// Runs that take at least some seconds together; the adapter warms up meanwhile.
///
/// The very first run does not count: some drivers compile as late as that.
pub(super) fn runs_for(seconds: f64, watch: &mut Stopwatch<'_>) -> Result<u32, EngineError> {
    watch(1)?;
    let mut runs = 1;
    loop {
        let took = watch(runs)? * f64::from(runs);
        if took >= seconds {
            return Ok(runs);
        }
        // Early samples mislead, so the number grows by no more than this.
        let wanted = (f64::from(runs) * seconds / took.max(1e-9)).ceil();
        runs = wanted.clamp(f64::from(runs + 1), f64::from(runs.saturating_mul(16))) as u32;
    }
}

/// Samples that are enough, however long they took.
const FEWEST: usize = 5;

/// The best of the samples that fit a time, and of five at least, each at least `sample`
/// seconds long: what the adapter can do when nothing disturbs it.
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

/// The value below which a share of the samples lies, between neighbours in proportion.
///
/// # Panics
/// If there are no samples.
pub(super) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// The middle one.
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
