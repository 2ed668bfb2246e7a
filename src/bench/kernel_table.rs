//! Time of a program by kernel.

use serde::Serialize;

use super::limits::{Bound, Limits};
use super::work::Work;
use crate::gpu::KernelTime;

/// All launches of a kernel in a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelRow {
    /// Stem of the shader's file, with the values of its constants.
    pub kernel: String,
    /// Number of launches.
    pub launches: usize,
    /// Total time of all launches in milliseconds.
    pub ms: f64,
    /// Share of the time of all kernels, 0 to 1.
    pub share: f64,
    /// Operations without pad channels, 10⁹ per second; 0 for kernels whose operations are not
    /// counted.
    pub gflops: f64,
    /// Memory traffic (each binding once), 10⁹ bytes per second.
    pub gb_s: f64,
    /// Lower bound from the device's limits / measured time.
    ///
    /// May exceed 1 where launches are the limit: timestamps exclude the gap between two
    /// dispatches.
    pub limit_ratio: f64,
    /// The limit that contributes most to the lower bound.
    pub bound: Bound,
}

/// The fastest of several timings of each dispatch, in seconds, as limits are best cases too.
///
/// # Panics
/// If the timings are of different programs, or there are none.
pub(super) fn fastest(timings: &[Vec<KernelTime>]) -> Vec<f64> {
    (0..timings[0].len())
        .map(|dispatch| {
            let samples = timings.iter().map(|t| t[dispatch].seconds);
            samples.fold(f64::INFINITY, f64::min)
        })
        .collect()
}

/// The rows of some work, given the seconds of each task; the slowest kernel first.
pub(super) fn rows(work: &Work, seconds: &[f64], limits: &Limits) -> Vec<KernelRow> {
    let all: f64 = seconds.iter().sum();
    let mut sums = vec![Sum::default(); work.kernels.len()];
    for (task, seconds) in work.tasks.iter().zip(seconds) {
        let sum = &mut sums[task.kernel];
        let (least, bound) = limits.least(task);
        sum.launches += 1;
        sum.seconds += seconds;
        sum.flops += task.flops;
        sum.bytes += task.bytes;
        sum.least[bound as usize] += least;
    }
    let kernels = work.kernels.iter().zip(sums);
    let mut rows: Vec<KernelRow> = kernels
        .map(|(kernel, sum)| KernelRow {
            kernel: kernel.clone(),
            launches: sum.launches,
            ms: 1e3 * sum.seconds,
            share: sum.seconds / all,
            gflops: 1e-9 * sum.flops as f64 / sum.seconds,
            gb_s: 1e-9 * sum.bytes as f64 / sum.seconds,
            limit_ratio: sum.least.iter().sum::<f64>() / sum.seconds,
            bound: sum.bound(),
        })
        .collect();
    rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    rows
}

/// Merges the variants of each shader into one row, the slowest first.
pub fn by_shader(rows: &[KernelRow]) -> Vec<KernelRow> {
    let mut shaders: Vec<KernelRow> = Vec::new();
    for row in rows {
        let stem = row.kernel.split(' ').next().unwrap_or_default();
        let Some(sum) = shaders.iter_mut().find(|sum| sum.kernel == stem) else {
            shaders.push(KernelRow {
                kernel: stem.to_owned(),
                ..row.clone()
            });
            continue;
        };
        let ms = sum.ms + row.ms;
        // Rates are averages weighted by time; the bound is that of the slowest variant, which
        // comes first.
        let mean = |a: f64, b: f64| (a * sum.ms + b * row.ms) / ms;
        sum.gflops = mean(sum.gflops, row.gflops);
        sum.gb_s = mean(sum.gb_s, row.gb_s);
        sum.limit_ratio = mean(sum.limit_ratio, row.limit_ratio);
        sum.launches += row.launches;
        sum.share += row.share;
        sum.ms = ms;
    }
    shaders.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    shaders
}

#[derive(Clone, Default)]
struct Sum {
    launches: usize,
    seconds: f64,
    flops: u64,
    bytes: u64,
    /// Sums of lower bounds in seconds, by [`Bound`].
    least: [f64; 4],
}

impl Sum {
    fn bound(&self) -> Bound {
        let largest = Bound::ALL
            .into_iter()
            .max_by(|a, b| self.least[*a as usize].total_cmp(&self.least[*b as usize]));
        largest.expect("there are bounds")
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Bandwidth;
    use super::*;
    use crate::kernels::probe;

    #[test]
    fn launches_of_a_kernel_share_a_row() {
        // Two copies of 64 KiB, there and back: 128 KiB of traffic each.
        let program = probe::copy(1 << 16, 1, 2);
        let limits = Limits {
            peak_gflops: 1.0,
            copies: vec![Bandwidth {
                working_set_bytes: 1 << 20,
                gb_s: 1.31072,
            }],
            launch_us: 1.0,
            latency_us: None,
        };
        let rows = rows(&Work::of_program(&program), &[3e-4, 5e-4], &limits);
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.launches, row.bound), (2, Bound::Memory));
        assert_eq!(row.kernel, "probe_copy VECTORS=1");
        let near = |value: f64, expected: f64| (value - expected).abs() < 1e-9;
        assert!(near(row.ms, 0.8) && near(row.share, 1.0) && row.gflops == 0.0);
        assert!(near(row.gb_s, 2.0 * 131_072e-9 / 8e-4));
        // 131072 bytes at 1.31072 GB/s take 100 µs.
        assert!(near(row.limit_ratio, 0.25), "{}", row.limit_ratio);
    }

    #[test]
    fn variants_of_a_shader_become_one_row() {
        let row = |kernel: &str, ms, gflops, bound| KernelRow {
            kernel: kernel.to_owned(),
            launches: 2,
            ms,
            share: ms / 10.0,
            gflops,
            gb_s: 1.0,
            limit_ratio: 0.5,
            bound,
        };
        let rows = [
            row("relu", 4.0, 0.0, Bound::Memory),
            row("conv A=1", 3.5, 10.0, Bound::Arithmetic),
            row("conv A=2", 2.5, 22.0, Bound::Launch),
        ];
        // 35 and 55 operations in 6 ms.
        let conv = KernelRow {
            launches: 4,
            ..row("conv", 6.0, 15.0, Bound::Arithmetic)
        };
        assert_eq!(by_shader(&rows), [conv, rows[0].clone()]);
    }

    #[test]
    fn a_dispatch_takes_its_fastest_time() {
        let timing = |seconds: [f64; 2]| {
            let times = seconds.into_iter().enumerate();
            times
                .map(|(dispatch, seconds)| KernelTime {
                    dispatch,
                    start: 0.0,
                    seconds,
                })
                .collect()
        };
        let timings = [timing([1.0, 6.0]), timing([3.0, 4.0]), timing([2.0, 5.0])];
        assert_eq!(fastest(&timings), [1.0, 4.0]);
    }
}
