//! The roofline of a program from the limits of a card: an estimate, nothing is measured.
//!
//! Each dispatch has four lower bounds: arithmetic, memory traffic, its launch, and its waits for
//! memory one after another. If all four overlap perfectly, it takes as long as the largest; if
//! nothing overlaps, as long as their sum. Dispatches follow one another.
//! The estimate does not know caches, which reduce memory traffic, nor how much of the arithmetic
//! rate a kernel reaches, nor workgroups that are too few to fill the card.

use serde::Serialize;

use super::kernel_table::{KernelRow, by_shader, rows};
use super::limits::{Bound, Limits};
use super::work::Work;
use crate::program::{Program, Totals};

/// Estimated times of a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// What the program does.
    #[serde(flatten)]
    pub totals: Totals,
    /// Milliseconds at the peak rate.
    pub arithmetic_ms: f64,
    /// Milliseconds to move all bytes.
    pub memory_ms: f64,
    /// Milliseconds of all launches.
    pub launch_ms: f64,
    /// Milliseconds of all waits for memory.
    pub latency_ms: f64,
    /// Milliseconds of the program: if the four overlap within a dispatch, and if nothing overlaps.
    pub step_ms: [f64; 2],
    /// Milliseconds by shader, if the four overlap, the slowest first.
    pub kernels: Vec<KernelEstimate>,
}

/// Estimated time of all launches of a shader.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelEstimate {
    /// Stem of the shader's file.
    pub kernel: String,
    /// Number of launches.
    pub launches: usize,
    /// Milliseconds, the four bounds overlapping.
    pub ms: f64,
    /// Share of the time of all kernels, 0 to 1.
    pub share: f64,
    /// The limit that contributes most to the time of its slowest variant.
    pub bound: Bound,
}

impl Estimate {
    /// Milliseconds until each part of a program ends, if the four bounds of a dispatch overlap.
    pub fn part_ends_ms(program: &Program, limits: &Limits) -> Vec<f64> {
        let work = Work::of_program(program);
        let least: Vec<f64> = work.tasks.iter().map(|task| limits.least(task).0).collect();
        let ends = program.parts().into_iter().map(|part| part.end);
        ends.map(|end| 1e3 * least[..end].iter().sum::<f64>())
            .collect()
    }

    /// Estimates a program.
    ///
    /// ```
    /// use pyr_wgpu::bench::{Estimate, cards};
    /// use pyr_wgpu::kernels::probe;
    ///
    /// // A GFLOP/s and a GB/s; two copies of 64 KiB move 128 KiB each and wait once.
    /// let limits = cards::limits(1.0, 1.0, 5.0, 0.5);
    /// let estimate = Estimate::new(&probe::copy(1 << 16, 1, 2), &limits);
    /// let [low, high] = estimate.step_ms.map(|ms| (1e6 * ms).round());
    /// assert_eq!(low, 2.0 * 131_072.0);
    /// assert_eq!(high, low + 2.0 * (5000.0 + 500.0));
    /// ```
    pub fn new(program: &Program, limits: &Limits) -> Estimate {
        let work = Work::of_program(program);
        let bounds: Vec<[f64; 4]> = work.tasks.iter().map(|task| limits.bounds(task)).collect();
        let all = |bound: Bound| 1e3 * bounds.iter().map(|b| b[bound as usize]).sum::<f64>();
        let [arithmetic_ms, memory_ms, launch_ms, latency_ms] = Bound::ALL.map(all);
        let least: Vec<f64> = work.tasks.iter().map(|task| limits.least(task).0).collect();
        let kernel = |row: KernelRow| KernelEstimate {
            kernel: row.kernel,
            launches: row.launches,
            ms: row.ms,
            share: row.share,
            bound: row.bound,
        };
        let kernels = by_shader(&rows(&work, &least, limits));
        Estimate {
            totals: program.totals(),
            arithmetic_ms,
            memory_ms,
            launch_ms,
            latency_ms,
            step_ms: [
                1e3 * least.iter().sum::<f64>(),
                arithmetic_ms + memory_ms + launch_ms + latency_ms,
            ],
            kernels: kernels.into_iter().map(kernel).collect(),
        }
    }
}
