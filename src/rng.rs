//! Counter-based random numbers: the same bits on every platform and on the GPU; and a hash.
//!
//! Philox-4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") maps a
//! counter and a key to four random words, without state.
//! The key is the seed. The counter is (block, a, b, purpose), where a and b identify the subject
//! (a sample and an epoch, a parameter, an image) and block counts within it.
//! So no number depends on the order of drawing, and a resumed run draws the same numbers as an
//! uninterrupted one.
//! `shaders/lib/philox.wgsl` implements the same generator.

/// 64-bit FNV-1a hash: the same number on every platform.
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Ten rounds of Philox-4x32.
pub fn philox4x32(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut counter = counter;
    let mut key = key;
    for _ in 0..10 {
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (second >> 32) as u32 ^ counter[1] ^ key[0],
            second as u32,
            (first >> 32) as u32 ^ counter[3] ^ key[1],
            first as u32,
        ];
        key = [
            key[0].wrapping_add(0x9E37_79B9),
            key[1].wrapping_add(0xBB67_AE85),
        ];
    }
    counter
}

/// Use of a random number; the last word of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Order of the images in an epoch.
    Shuffle = 1,
    /// Crop and flip.
    Augment = 2,
    /// Dropout masks.
    Dropout = 3,
    /// Initial weights.
    Initialise = 4,
    /// The images of the `shapes` dataset.
    Shapes = 5,
    /// Factors on residual branches.
    Branch = 6,
    /// Random erasing.
    Erase = 7,
    /// Cutout.
    Cutout = 8,
    /// Partners, weights and rectangles of mixup and CutMix.
    Mix = 9,
    /// ImageNet's crops of random area, and its changes of colour.
    ImageNet = 10,
    /// Transforms of automatic augmentation.
    Transform = 11,
}

/// The key of [`philox4x32`] for a seed.
pub fn key(seed: u64) -> [u32; 2] {
    [seed as u32, (seed >> 32) as u32]
}

/// A random word as a number in [0, 1), a multiple of 2⁻²⁴.
pub fn unit_interval(word: u32) -> f32 {
    (word >> 8) as f32 / 16_777_216.0
}

/// A sequence of random numbers for a seed, a purpose and two identifiers.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// A sequence from block 0; `a` and `b` identify the subject.
    pub fn new(seed: u64, purpose: Purpose, a: u32, b: u32) -> Stream {
        Stream {
            key: key(seed),
            counter: [0, a, b, purpose as u32],
            words: [0; 4],
            used: 4,
        }
    }

    /// Uniform over all 32-bit words.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.words = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform integer in 0..`bound`, without bias (Lemire 2019).
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "bound must be positive");
        let reject = bound.wrapping_neg() % bound;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(bound);
            if product as u32 >= reject {
                return (product >> 32) as u32;
            }
        }
    }

    /// Uniform in [0, 1), a multiple of 2⁻²⁴.
    pub fn uniform(&mut self) -> f32 {
        unit_interval(self.next_u32())
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.next_u32()) << 32;
        let word = high | u64::from(self.next_u32());
        (word >> 11) as f64 / 9_007_199_254_740_992.0
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        // In (0, 1], so that the logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform_f64()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform_f64())
    }

    /// Logarithm of a variate of the gamma distribution with shape `alpha`: the method of Marsaglia
    /// and Tsang (2000, "A simple method for generating gamma variables") for the shape alpha + 1,
    /// times U^(1/alpha), which can be too small for f64.
    fn log_gamma(&mut self, alpha: f64) -> f64 {
        let d = alpha + 2.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        let cubed = loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            let accepted = x * x / 2.0 + d - d * v + d * libm::log(v);
            if libm::log(1.0 - self.uniform_f64()) < accepted {
                break v;
            }
        };
        libm::log(d) + libm::log(cubed) + libm::log(1.0 - self.uniform_f64()) / alpha
    }

    /// A variate of the beta distribution with both parameters `alpha`, which is positive and
    /// finite: X / (X + Y) for two gamma variates.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        let [x, y] = [self.log_gamma(alpha), self.log_gamma(alpha)];
        1.0 / (1.0 + libm::exp(y - x))
    }

    /// A uniformly random permutation of 0..`n` (Fisher and Yates).
    ///
    /// # Panics
    /// If `n` does not fit 32 bits.
    pub fn permutation(&mut self, n: usize) -> Vec<u32> {
        let n = u32::try_from(n).expect("a permutation of at most 2^32 numbers");
        let mut order: Vec<u32> = (0..n).collect();
        for last in (1..n).rev() {
            let other = self.below(last + 1);
            order.swap(last as usize, other as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers from the Random123 distribution.
    #[test]
    fn philox_gives_the_known_answers() {
        let ones = u32::MAX;
        for (counter, key, expected) in [
            (
                [0; 4],
                [0; 2],
                [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8],
            ),
            (
                [ones; 4],
                [ones; 2],
                [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd],
            ),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox4x32(counter, key), expected);
        }
    }

    #[test]
    fn a_permutation_has_every_number_once() {
        let mut order = Stream::new(1, Purpose::Shuffle, 2, 3).permutation(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<u32>>());
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut stream = Stream::new(7, Purpose::Initialise, 0, 0);
        let values: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        // Five standard errors: 5/√20000 and 5·√(2/20000).
        assert!(mean.abs() < 0.036 && (variance - 1.0).abs() < 0.05);
    }

    /// Mean 1/2, variance 1/(4(2α + 1)) and excess kurtosis −6/(2α + 3), within five standard
    /// errors: of the mean √(σ²/n), of the variance √((μ₄ − σ⁴)/n), and of the fourth moment at most
    /// √(2⁻⁸/n), because no variate is further than 1/2 from the mean.
    #[test]
    fn beta_variates_have_the_moments_of_their_distribution() {
        let n = 50_000;
        for (number, alpha) in (0..).zip([0.05, 0.2, 0.4, 1.0, 1.5, 8.0]) {
            let mut stream = Stream::new(3, Purpose::Mix, number, 0);
            let centred: Vec<f64> = (0..n).map(|_| stream.beta(alpha) - 0.5).collect();
            let moment = |power| centred.iter().map(|x| x.powi(power)).sum::<f64>() / f64::from(n);
            let variance = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            let fourth = variance * variance * (3.0 - 6.0 / (2.0 * alpha + 3.0));
            let error = |of: f64| 5.0 * (of / f64::from(n)).sqrt();
            let differences = [
                (moment(1), error(variance)),
                (moment(2) - variance, error(fourth - variance * variance)),
                (moment(4) - fourth, error(1.0 / 256.0)),
            ];
            for (difference, bound) in differences {
                assert!(difference.abs() < bound, "{alpha}: {differences:?}");
            }
        }
        // The smallest and the largest alpha that f32 holds.
        let mut stream = Stream::new(3, Purpose::Mix, 9, 0);
        for _ in 0..100 {
            let least = stream.beta(f64::from(f32::from_bits(1)));
            assert!(least == 0.0 || least == 1.0, "{least}");
            let most = stream.beta(f64::from(f32::MAX));
            assert!((most - 0.5).abs() < 1e-9, "{most}");
        }
    }
}
