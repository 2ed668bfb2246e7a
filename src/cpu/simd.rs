//! Vector instructions: which kind the processor has, and code that is compiled for each.

use pulp::{Simd, WithSimd};

/// Code over vectors of a kind that is known when it is compiled, with the number of vector
/// registers there are.
pub(super) trait SimdKernel {
    fn run<S: Simd, const REGISTERS: usize>(self, simd: S);
}

/// A kind of vector instructions that this processor has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Instructions {
    /// AVX-512.
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    /// AVX-512 on vectors of 256 bits, for processors that take twice as long for wider ones,
    /// which PyramidNet's narrow layers would leave half empty; what is left of it beside AVX2
    /// is twice as many registers.
    #[cfg(target_arch = "x86_64")]
    Avx512Narrow(pulp::x86::V4, pulp::x86::V3),
    /// AVX2 with fused multiply-adds.
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    /// What the library knows for other processors.
    Other(pulp::Arch),
}

/// Vector registers where the kind is not known by name. Browsers keep one of sixteen for
/// themselves, on the processors that have so few.
const OTHER_REGISTERS: usize = if cfg!(target_arch = "aarch64") {
    32
} else if cfg!(target_arch = "wasm32") {
    15
} else {
    16
};

impl Instructions {
    /// Every kind that this processor has, the widest first.
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

    /// For people.
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

    /// Numbers in a vector, and vector registers.
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

    /// Runs code compiled for this kind.
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

    /// Runs a loop that the compiler turns into vector instructions of this kind.
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
