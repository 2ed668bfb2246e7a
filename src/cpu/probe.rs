//! Probes of the processor's limits: multiply-adds, copying, starting a parallel loop.

use pulp::Simd;
use rayon::prelude::*;

use super::Cpu;
use super::simd::SimdKernel;
#[cfg(target_arch = "x86_64")]
use {
    super::simd::Instructions,
    std::time::{Duration, Instant},
};

/// Independent accumulators per thread: enough to hide the latency of a multiply-add.
const SUMS: usize = 12;

/// Runs multiply-adds on registers, on all threads; returns the number of operations, two for
/// each multiply-add.
pub fn arithmetic(cpu: &Cpu, rounds: u32) -> u64 {
    (0..cpu.threads).into_par_iter().for_each(|_| {
        cpu.instructions.run(MultiplyAdds(rounds));
    });
    2 * u64::from(rounds) * (SUMS * cpu.lanes * cpu.threads) as u64
}

struct MultiplyAdds(u32);

impl SimdKernel for MultiplyAdds {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S) {
        // Opaque to the compiler, which would otherwise compute the result itself.
        let factor = std::hint::black_box(simd.splat_f32s(0.999));
        let term = std::hint::black_box(simd.splat_f32s(1e-3));
        let mut sums = [simd.splat_f32s(1.0); SUMS];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, factor, term);
            }
        }
        std::hint::black_box(sums);
    }
}

/// Rounds per sample and number of samples in [`as_fast`]. A sample takes some microseconds;
/// the minimum excludes the effects of other programs and of rising clocks.
#[cfg(target_arch = "x86_64")]
const PROBE_ROUNDS: u32 = 1000;
#[cfg(target_arch = "x86_64")]
const PROBES: usize = 25;

/// Whether a multiply-add with `one` takes less than 1.5 times as long as with `other`, on this
/// thread.
#[cfg(target_arch = "x86_64")]
pub(super) fn as_fast(one: Instructions, other: Instructions) -> bool {
    let time = |kind: Instructions| {
        let start = Instant::now();
        kind.run(MultiplyAdds(PROBE_ROUNDS));
        start.elapsed()
    };
    let (mut least, mut least_other) = (Duration::MAX, Duration::MAX);
    for _ in 0..PROBES {
        least = least.min(time(one));
        least_other = least_other.min(time(other));
    }
    2 * least < 3 * least_other
}

/// Copies a slice, on all threads.
pub fn copy(from: &[f32], to: &mut [f32]) {
    let parts = to.par_chunks_mut(1 << 16).zip(from.par_chunks(1 << 16));
    parts.for_each(|(to, from)| to.copy_from_slice(from));
}

/// Starts `count` empty parallel loops, one after another.
pub fn launches(cpu: &Cpu, count: usize) {
    rayon::scope(|_| {
        for _ in 0..count {
            let loops = (0..cpu.threads).into_par_iter();
            loops.for_each(|thread| {
                std::hint::black_box(thread);
            });
        }
    });
}
