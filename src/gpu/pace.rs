//! How much work one submission has.
//!
//! An operating system resets a card that works on one submission for too long (Windows after two
//! seconds), and shows nothing new on the screen meanwhile. A step of a large network takes longer on
//! a small card, so its dispatches are divided into submissions by their counted work; how much work
//! a submission has follows from how long earlier ones have taken.

use std::ops::Range;
#[cfg(not(target_arch = "wasm32"))]
use std::time::Duration;

/// Operations that a byte of memory traffic counts as; an assumption, since no card was measured.
const OPERATIONS_PER_BYTE: u64 = 10;

/// Operations of the first submissions: 0.4 s at 100 GFLOP/s.
const FIRST: u64 = 40_000_000_000;

/// The fewest operations of a submission, unless a dispatch alone has more.
#[cfg(not(target_arch = "wasm32"))]
const FEWEST: u64 = 1_000_000_000;

/// Submissions that took less than the first get more work, those that took more than the second
/// get less.
#[cfg(not(target_arch = "wasm32"))]
const TARGET: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];

/// The work of a dispatch, in operations.
pub(super) fn work(flops: u64, bytes: u64) -> u64 {
    flops.saturating_add(bytes.saturating_mul(OPERATIONS_PER_BYTE))
}

/// Operations of a submission.
#[derive(Debug)]
pub(super) struct Pace {
    limit: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { limit: FIRST }
    }
}

impl Pace {
    /// Divides dispatches of so much work each into submissions, in order; at least one, which may be
    /// empty.
    pub(super) fn submissions(&self, work: impl IntoIterator<Item = u64>) -> Vec<Range<usize>> {
        let mut submissions: Vec<Range<usize>> = Vec::new();
        let (mut start, mut end, mut total) = (0, 0, 0u64);
        for work in work {
            if end > start && total.saturating_add(work) > self.limit {
                submissions.push(start..end);
                (start, total) = (end, 0);
            }
            total = total.saturating_add(work);
            end += 1;
        }
        submissions.push(start..end);
        submissions
    }

    /// Takes into account that a submission of so much work took at most this long.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn measured(&mut self, work: u64, time: Duration) {
        let [short, long] = TARGET;
        if time > long {
            // As much as takes half of the longest time.
            let share = long.as_secs_f64() / 2.0 / time.as_secs_f64();
            let less = (work as f64 * share) as u64;
            self.limit = less.clamp(FEWEST, self.limit.max(FEWEST));
        } else if time < short && work > self.limit / 2 {
            self.limit = self.limit.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_hold_all_dispatches_in_order() {
        let pace = Pace { limit: 10 };
        let ends = |work: &[u64]| -> Vec<usize> {
            let submissions = pace.submissions(work.iter().copied());
            let starts = submissions.iter().map(|range| range.start);
            let ends = submissions.iter().map(|range| range.end);
            assert!(starts.eq([0].into_iter().chain(ends.clone()).take(submissions.len())));
            ends.collect()
        };
        assert_eq!(ends(&[]), [0]);
        assert_eq!(ends(&[3, 4, 3]), [3]);
        assert_eq!(ends(&[3, 4, 4, 99, 1, 1]), [2, 3, 4, 6]);
        assert_eq!(ends(&[u64::MAX, u64::MAX]), [1, 2]);
    }

    /// Cards of any speed reach submissions between the two times, and stay there.
    #[test]
    fn times_approach_the_target() {
        for speed in [1e11, 1e12, 5e13] {
            let mut pace = Pace::default();
            let mut time = Duration::ZERO;
            for _ in 0..20 {
                time = Duration::from_secs_f64(pace.limit as f64 / speed);
                pace.measured(pace.limit, time);
            }
            assert!(
                time >= TARGET[0] && time <= TARGET[1],
                "{speed:e}: {time:?}"
            );
        }
        // One dispatch that cannot be divided does not make the others ever smaller.
        let mut pace = Pace::default();
        for _ in 0..20 {
            pace.measured(1_000_000, Duration::from_secs(1));
        }
        assert_eq!(pace.limit, FEWEST);
    }
}
