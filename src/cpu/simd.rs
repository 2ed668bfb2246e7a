//! Vector instruction sets: detection, and dispatch to code compiled for each.

use pulp::{Simd, WithSimd};

/// Code that is compiled for each instruction set, given its vector type and its number of
/// vector registers.
pub(super) trait SimdKernel {
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S);
}

/// A vector instruction set that this processor supports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instructions {
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// AVX-512 on vectors of 256 bits, for processors that execute wider ones at half the rate:
    /// PyramidNet's narrow layers would not fill those. Its advantage over AVX2 is twice as many
    /// registers.
    #[cfg(target_arch = "x86_64")]
    Avx512Narrow(pulp::x86::V4, pulp::x86::V3),
    /// AVX2 with fused multiply-adds.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// The instruction set that `pulp` detects on other processors.
    Other(pulp::Arch),
}

/// Vector registers of the other instruction sets. WebAssembly engines reserve one of sixteen
/// on processors with no more.
const OTHER_REGISTERS: usize = if cfg!(target_arch = "aarch64") {
    32
} else if cfg!(target_arch = "wasm32") {
    15
} else {
    16
};

impl Instructions {
    /// Every instruction set of this processor, the widest first.
    pub(super) fn all() -> Vec<Instructions> {
        #[cfg(target_arch = "x86_64")]
        if let Some(v3) = pulp::x86::V3::try_new() {
            let avx2 = Instructions::Avx2(v3);
            let Some(v4) = pulp::x86::V4::try_new() else {
                return vec![avx2];
            };
            return vec![
                Instructions::Avx512(v4),
                Instructions::Avx512Narrow(v4, v3),
                avx2,
            ];
        }
        vec![Instructions::Other(pulp::Arch::new())]
    }

    /// Display name.
    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Narrow(..) => "AVX-512 on 256 bits",
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(_) => "AVX2",
            Instructions::Other(_) if cfg!(target_arch = "aarch64") => "NEON",
            Instructions::Other(pulp::Arch::Scalar) => "no vector instructions",
            Instructions::Other(_) => "SIMD",
        }
    }

    /// f32 lanes of a vector, and number of vector registers.
    pub(super) fn sizes(self) -> (usize, usize) {
        struct Sizes<'a>(&'a mut (usize, usize));
        impl SimdKernel for Sizes<'_> {
            fn run<S: Simd, const REGISTERS: usize>(self, _: S) {
                *self.0 = (S::F32_LANES, REGISTERS);
            }
        }
        let mut sizes = (1, 1);
        self.run(Sizes(&mut sizes));
        sizes
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub(super) fn run<K: SimdKernel>(self, kernel: K) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512(v4) => Simd::vectorize(v4, Wide(kernel)),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Narrow(v4, v3) => Simd::vectorize(v4, Narrow(v3, kernel)),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2(v3) => Simd::vectorize(v3, Plain(kernel)),
            Instructions::Other(arch) => arch.dispatch(Plain(kernel)),
        }
    }

    /// Runs a loop that the compiler vectorises for this instruction set.
    #[inline]
    pub(super) fn vectorise(self, work: impl FnOnce()) {
        self.run(Loop(work));
    }
}

/// A kernel with the registers of [`OTHER_REGISTERS`]; AVX2 has as many.
struct Plain<K>(K);

impl<K: SimdKernel> WithSimd for Plain<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, OTHER_REGISTERS>(simd);
    }
}

/// A kernel with the vectors and registers of AVX-512.
#[cfg(target_arch = "x86_64")]
struct Wide<K>(K);

#[cfg(target_arch = "x86_64")]
impl<K: SimdKernel> WithSimd for Wide<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.0.run::<S, 32>(simd);
    }
}

/// A kernel on the vectors of AVX2, compiled with the registers of AVX-512.
#[cfg(target_arch = "x86_64")]
struct Narrow<K>(pulp::x86::V3, K);

#[cfg(target_arch = "x86_64")]
impl<K: SimdKernel> WithSimd for Narrow<K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.1.run::<pulp::x86::V3, 32>(self.0);
    }
}

struct Loop<F>(F);

impl<F: FnOnce()> SimdKernel for Loop<F> {
    #[inline(always)]
    fn run<S: Simd, const REGISTERS: usize>(self, _: S) {
        (self.0)();
    }
}
