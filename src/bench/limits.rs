//! Limits of a device: multiply-adds, memory bandwidth, launches, memory latency.
//!
//! The first three are measured, because datasheets ignore clocks, drivers, software adapters and
//! shared machines; for a card that is not there, [`super::cards`] gives all four.
//! The limits form a roofline: no dispatch is faster than its arithmetic, its memory traffic, a
//! launch or its waits for memory. (Matrix units are an exception: they exceed the multiply-add
//! rate.)

use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::clock::best;
use super::work::Task;
use crate::cpu::{self, Cpu};
use crate::engine::EngineError;
use crate::gpu::{Gpu, LoadedPrograms};
use crate::kernels::probe::{self, Arithmetic};
use crate::program::Program;

/// Candidates for the arithmetic probe: invocations per workgroup, accumulators per invocation.
/// Processors need just enough accumulators to hide the latency of a multiply-add within their
/// registers; GPUs need many accumulators or many invocations.
const ARITHMETIC: [(u32, u32); 4] = [(64, 3), (64, 8), (64, 16), (256, 8)];

/// Candidates for the copy probe: vec4s per invocation.
const VECTORS: [u32; 2] = [1, 8];

/// Sizes of one buffer of the copy in bytes, from sizes that fit every cache to one that fits
/// hardly any.
const BUFFERS: [u64; 4] = [1 << 20, 4 << 20, 16 << 20, 128 << 20];

/// Dispatches of the launch probe: about as many as in a training step.
const LAUNCHES: usize = 1000;

/// Limits of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Limits {
    /// Multiply-adds in single precision, each counted as two operations, 10⁹ per second.
    pub peak_gflops: f64,
    /// Copy bandwidth over growing working sets.
    pub copies: Vec<Bandwidth>,
    /// Microseconds per dispatch, in a chain of dependent ones.
    pub launch_us: f64,
    /// Microseconds that an invocation waits for memory; not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_us: Option<f64>,
}

/// One point of the bandwidth curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bandwidth {
    /// Size of both buffers together.
    pub working_set_bytes: u64,
    /// Bytes read and bytes written, 10⁹ per second.
    pub gb_s: f64,
}

/// The limit that bounds a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Multiply-adds.
    Arithmetic,
    /// Bandwidth.
    Memory,
    /// The cost of launching it.
    Launch,
    /// Waits for memory, one after another.
    Latency,
}

impl Bound {
    /// All of them, in the order of their numbers.
    pub const ALL: [Bound; 4] = [
        Bound::Arithmetic,
        Bound::Memory,
        Bound::Launch,
        Bound::Latency,
    ];
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Arithmetic => "arithmetic",
            Bound::Memory => "memory",
            Bound::Launch => "launch",
            Bound::Latency => "latency",
        })
    }
}

impl Limits {
    /// Measures the limits of an adapter, which takes some seconds.
    ///
    /// # Errors
    /// If the device fails.
    pub(super) fn of_gpu(gpu: &Gpu) -> Result<Limits, EngineError> {
        Ok(Limits {
            peak_gflops: peak(gpu)? * 1e-9,
            copies: copies(gpu)?,
            launch_us: launch(gpu)? * 1e6,
            latency_us: None,
        })
    }

    /// Measures the limits of the processor, where a launch is the start of a parallel loop.
    ///
    /// # Errors
    /// None.
    pub(super) fn of_cpu(cpu: &Cpu) -> Result<Limits, EngineError> {
        const ROUNDS: u32 = 100_000;
        let operations = cpu::probe::arithmetic(cpu, 1) * u64::from(ROUNDS);
        let seconds = watch(|| {
            cpu::probe::arithmetic(cpu, ROUNDS);
        })?;
        let mut copies = Vec::new();
        for bytes in BUFFERS {
            let from = vec![1.0; bytes as usize / 4];
            let mut to = vec![0.0; from.len()];
            let seconds = watch(|| cpu::probe::copy(&from, &mut to))?;
            copies.push(Bandwidth {
                working_set_bytes: 2 * bytes,
                gb_s: 2e-9 * bytes as f64 / seconds,
            });
        }
        Ok(Limits {
            peak_gflops: 1e-9 * operations as f64 / seconds,
            copies,
            launch_us: 1e6 * watch(|| cpu::probe::launches(cpu, LAUNCHES))? / LAUNCHES as f64,
            latency_us: None,
        })
    }

    /// Bandwidth over the largest working set.
    pub fn bandwidth(&self) -> &Bandwidth {
        self.copies.last().expect("some working set was measured")
    }

    /// Attainable bandwidth for a dispatch of some bytes, in bytes per second: the highest over any
    /// working set at least as large.
    ///
    /// Small tensors may be cached; comparing them with DRAM bandwidth would overstate their
    /// efficiency.
    fn bandwidth_for(&self, bytes: u64) -> f64 {
        let enough = self.copies.iter().filter(|c| c.working_set_bytes >= bytes);
        let highest = enough.map(|c| c.gb_s).fold(0.0, f64::max);
        1e9 * match highest > 0.0 {
            true => highest,
            false => self.bandwidth().gb_s,
        }
    }

    /// Lower bounds of a dispatch's duration in seconds, by [`Bound`]; zero where the limit is not
    /// known.
    pub(super) fn bounds(&self, task: &Task) -> [f64; 4] {
        Bound::ALL.map(|bound| match bound {
            Bound::Arithmetic => task.flops as f64 / (1e9 * self.peak_gflops),
            Bound::Memory => task.bytes as f64 / self.bandwidth_for(task.bytes),
            Bound::Launch => 1e-6 * self.launch_us,
            Bound::Latency => 1e-6 * self.latency_us.unwrap_or(0.0) * f64::from(task.serial_steps),
        })
    }

    /// Lower bound of a dispatch's duration in seconds, and the limit that sets it.
    pub(super) fn least(&self, task: &Task) -> (f64, Bound) {
        let bounds = self.bounds(task).into_iter().zip(Bound::ALL);
        let largest = bounds.max_by(|a, b| a.0.total_cmp(&b.0));
        largest.expect("there are bounds")
    }
}

/// Minimum seconds of some work on the processor.
fn watch(mut work: impl FnMut()) -> Result<f64, EngineError> {
    let mut stopwatch = |runs: u32| -> Result<f64, EngineError> {
        let start = Instant::now();
        for _ in 0..runs {
            work();
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(runs))
    };
    let (seconds, sample) = SOFTWARE_SAMPLING;
    best(seconds, sample, &mut stopwatch)
}

/// [`sampling`] on processors.
const SOFTWARE_SAMPLING: (f64, f64) = (0.4, 0.01);

/// Seconds to sample a probe, and minimum length of a sample in seconds.
///
/// On processors, other programs interfere, so many short samples are taken. GPUs raise their
/// clocks only under sustained load.
fn sampling(gpu: &Gpu) -> (f64, f64) {
    match gpu.description.software() {
        true => SOFTWARE_SAMPLING,
        false => (0.25, 0.05),
    }
}

/// Minimum seconds of one run of a program.
fn run_best(gpu: &Gpu, program: &Program) -> Result<f64, EngineError> {
    let loaded = LoadedPrograms::new(gpu, &[program])?;
    let mut watch = |runs: u32| -> Result<f64, EngineError> {
        let start = Instant::now();
        for _ in 0..runs {
            loaded.run(gpu, 0)?;
        }
        gpu.finish()?;
        Ok(start.elapsed().as_secs_f64() / f64::from(runs))
    };
    let (seconds, sample) = sampling(gpu);
    best(seconds, sample, &mut watch)
}

/// Peak multiply-add rate in operations per second.
fn peak(gpu: &Gpu) -> Result<f64, EngineError> {
    // Large enough to fill the largest GPU, small enough not to hang the smallest.
    let (workgroups, rounds) = match gpu.description.software() {
        true => (16, 256),
        false => (4096, 256),
    };
    let mut peak = 0.0f64;
    for (workgroup, accumulators) in ARITHMETIC {
        let shape = Arithmetic {
            workgroup,
            accumulators,
        };
        let program = probe::arithmetic(shape, workgroups, rounds);
        peak = peak.max(program.flops() as f64 / run_best(gpu, &program)?);
    }
    Ok(peak)
}

/// The bandwidth curve, up to the adapter's largest buffer.
fn copies(gpu: &Gpu) -> Result<Vec<Bandwidth>, EngineError> {
    let limit = gpu.description.max_binding.min(gpu.description.max_buffer);
    let mut copies = Vec::new();
    for bytes in BUFFERS.into_iter().filter(|bytes| *bytes <= limit) {
        let mut highest = 0.0f64;
        for vectors in VECTORS {
            // Several short dispatches per submission amortise its cost.
            let dispatches = if bytes < 16 << 20 { 16 } else { 2 };
            let program = probe::copy(bytes, vectors, dispatches);
            let moved: u64 = program.dispatches.iter().map(Program::bytes).sum();
            highest = highest.max(moved as f64 / run_best(gpu, &program)?);
        }
        copies.push(Bandwidth {
            working_set_bytes: 2 * bytes,
            gb_s: highest * 1e-9,
        });
    }
    Ok(copies)
}

/// Seconds per launch.
fn launch(gpu: &Gpu) -> Result<f64, EngineError> {
    Ok(run_best(gpu, &probe::launches(LAUNCHES))? / LAUNCHES as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let copy = |working_set_bytes, gb_s| Bandwidth {
            working_set_bytes,
            gb_s,
        };
        Limits {
            peak_gflops: 100.0,
            copies: vec![
                copy(1_000, 5.0),
                copy(1_000_000, 20.0),
                copy(100_000_000, 10.0),
            ],
            launch_us: 2.0,
            latency_us: Some(0.5),
        }
    }

    fn task(flops: u64, bytes: u64, serial_steps: u32) -> Task {
        Task {
            kernel: 0,
            label: String::new(),
            flops,
            bytes,
            serial_steps,
        }
    }

    #[test]
    fn the_tightest_limit_counts() {
        for (flops, bytes, serial_steps, microseconds, bound) in [
            (0, 4, 1, 2.0, Bound::Launch),
            (1_000_000, 4, 1, 10.0, Bound::Arithmetic),
            (1_000_000, 1_000_000, 1, 50.0, Bound::Memory),
            (1_000_000, 1_000_000, 200, 100.0, Bound::Latency),
        ] {
            let (seconds, found) = limits().least(&task(flops, bytes, serial_steps));
            assert!((seconds * 1e6 - microseconds).abs() < 1e-9, "{seconds}");
            assert_eq!(found, bound);
        }
    }

    #[test]
    fn a_latency_that_is_not_known_is_no_limit() {
        let unknown = Limits {
            latency_us: None,
            ..limits()
        };
        assert_eq!(unknown.least(&task(0, 4, 1000)).1, Bound::Launch);
    }

    #[test]
    fn small_tensors_are_measured_against_the_cache() {
        let gb_s = [1, 2_000, 2_000_000, 1 << 40].map(|bytes| limits().bandwidth_for(bytes));
        // The smallest working set was slow because of its launches, not its memory.
        assert_eq!(gb_s, [20e9, 20e9, 10e9, 10e9]);
    }
}
