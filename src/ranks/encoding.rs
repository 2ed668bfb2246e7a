//! How numbers travel between ranks: as they are, or in half precision, which halves the bytes.
//!
//! Gradients may be smaller than the least normal half, 2^-14, or larger than the largest, 65504.
//! Therefore each block of numbers is multiplied by a power of two that brings its largest one to
//! between 2^14 and 2^15 (block floating point), and the inverse travels with it. Rounding to nearest
//! then changes a number by at most 2^-11 of itself, or by 2^-39 of the largest of its block if that is
//! more; where the largest is below 2^-112, which the factor does not reach, the second bound is 2^-149.
//! Infinities and NaN stay what they are, and what rounds to 2^128 becomes infinite.

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rayon::prelude::*;

/// How numbers travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// In single precision, as they are.
    #[default]
    Single,
    /// Rounded to half precision, scaled in blocks.
    Half,
}

/// Numbers with a common power of two.
const BLOCK: usize = 1024;

/// Words of a block: the power of two and two halves in each of the others.
const BLOCK_WORDS: usize = 1 + BLOCK / 2;

/// Blocks that a core encodes or decodes at a time.
const BLOCKS: usize = 16;

/// Bits of an f32 right of its exponent.
const MANTISSA: u32 = f32::MANTISSA_DIGITS - 1;

/// Exponents of an f32 are stored with this added.
const BIAS: u32 = 127;

impl Encoding {
    /// Words of so many numbers.
    pub fn words(self, numbers: usize) -> usize {
        match self {
            Encoding::Single => numbers,
            Encoding::Half => {
                let last = numbers % BLOCK;
                let last = usize::from(last > 0) + last.div_ceil(2);
                numbers / BLOCK * BLOCK_WORDS + last
            }
        }
    }

    /// The words of numbers, which are in the buffer if they are others.
    pub fn encode<'a>(self, numbers: &'a [f32], buffer: &'a mut Vec<u32>) -> &'a [u32] {
        match self {
            Encoding::Single => bytemuck::cast_slice(numbers),
            Encoding::Half => {
                buffer.resize(self.words(numbers.len()), 0);
                let blocks = buffer.par_chunks_mut(BLOCK_WORDS);
                let blocks = blocks.zip(numbers.par_chunks(BLOCK)).with_min_len(BLOCKS);
                blocks.for_each(|(words, numbers)| encode_block(numbers, words));
                buffer
            }
        }
    }

    /// The numbers of words, as many as were encoded; they are in the buffer if they are others.
    pub fn decode<'a>(
        self,
        words: &'a [u32],
        numbers: usize,
        buffer: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        match self {
            Encoding::Single => bytemuck::cast_slice(words),
            Encoding::Half => {
                buffer.resize(numbers, 0.0);
                let blocks = buffer.par_chunks_mut(BLOCK);
                let blocks = blocks.zip(words.par_chunks(BLOCK_WORDS));
                let blocks = blocks.with_min_len(BLOCKS);
                blocks.for_each(|(numbers, words)| decode_block(words, numbers));
                buffer
            }
        }
    }
}

fn encode_block(numbers: &[f32], words: &mut [u32]) {
    let (factor, halves) = words.split_first_mut().expect("a block has a factor");
    let finite = numbers.iter().map(|number| match number.is_finite() {
        true => number.abs(),
        false => 0.0,
    });
    let largest = finite.fold(0.0, f32::max);
    // Both the factor and its inverse are normal numbers.
    let exponent = 2 * BIAS + 14 - (largest.to_bits() >> MANTISSA);
    let exponent = exponent.clamp(1, 2 * BIAS - 1);
    *factor = (2 * BIAS - exponent) << MANTISSA;
    let up = f32::from_bits(exponent << MANTISSA);
    let mut scaled = [0.0; BLOCK];
    let scaled = &mut scaled[..numbers.len()];
    for (scaled, number) in scaled.iter_mut().zip(numbers) {
        *scaled = number * up;
    }
    let halves: &mut [u16] = bytemuck::cast_slice_mut(halves);
    let halves: &mut [f16] = halves.reinterpret_cast_mut();
    halves[..numbers.len()].convert_from_f32_slice(scaled);
}

fn decode_block(words: &[u32], numbers: &mut [f32]) {
    let (factor, halves) = words.split_first().expect("a block has a factor");
    let factor = f32::from_bits(*factor);
    let halves: &[u16] = bytemuck::cast_slice(halves);
    let halves: &[f16] = halves.reinterpret_cast();
    halves[..numbers.len()].convert_to_f32_slice(numbers);
    for number in numbers {
        *number *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(numbers: &[f32]) -> Vec<f32> {
        let (mut words, mut decoded) = (vec![7; 3], vec![9.0; 5]);
        let words = Encoding::Half.encode(numbers, &mut words);
        assert_eq!(words.len(), Encoding::Half.words(numbers.len()));
        let decoded = Encoding::Half.decode(words, numbers.len(), &mut decoded);
        assert_eq!(decoded.len(), numbers.len());
        decoded.to_vec()
    }

    /// Numbers of many magnitudes and both signs, whose largest is `largest`.
    fn spread(count: usize, largest: f64) -> Vec<f32> {
        let number = |index: usize| {
            let magnitude = (index * 29 % 47) as f64;
            let digits = 1.0 + (index * 7919 % 1009) as f64 / 1009.0;
            let sign = if index.is_multiple_of(3) { -1.0 } else { 1.0 };
            (sign * largest * digits / 2.0 * (-magnitude).exp2()) as f32
        };
        (0..count).map(number).collect()
    }

    #[test]
    fn halves_are_half_the_bytes() {
        for numbers in [0, 1, 2, 3, 1023, 1024, 1025, 1_000_000] {
            let words = Encoding::Half.words(numbers);
            let blocks = numbers.div_ceil(BLOCK);
            assert!(2 * (words - blocks) >= numbers && 2 * (words - blocks) <= numbers + 1);
            assert_eq!(Encoding::Single.words(numbers), numbers);
        }
    }

    #[test]
    fn rounding_is_within_its_bound() {
        for count in [1, 2, 1023, 1024, 1025, 40_000] {
            for largest in [
                1e-40,
                1e-36,
                1e-30,
                1e-7,
                1.0,
                65504.0,
                1e30,
                f64::from(f32::MAX),
            ] {
                let numbers = spread(count, largest);
                let found = round_trip(&numbers);
                let blocks = numbers.chunks(BLOCK).zip(found.chunks(BLOCK));
                for (numbers, found) in blocks {
                    let absolute = |number: &f32| f64::from(*number).abs();
                    let most = numbers.iter().map(absolute).fold(0.0, f64::max);
                    for (number, found) in numbers.iter().zip(found) {
                        let bound = (absolute(number) / 2048.0).max(most * (-39f64).exp2());
                        let bound = bound.max((-149f64).exp2());
                        let error = (f64::from(*number) - f64::from(*found)).abs();
                        assert!(error <= bound, "{number:e}: {found:e}, largest {most:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn halves_times_a_power_of_two_are_exact() {
        for exponent in [-100, -20, 0, 20, 100] {
            let factor = f32::powi(2.0, exponent);
            let numbers: Vec<f32> = (0..2048).map(|n| (n - 1024) as f32 * factor).collect();
            assert_eq!(round_trip(&numbers), numbers);
        }
    }

    #[test]
    fn what_is_not_finite_stays() {
        let numbers = [1.5, f32::INFINITY, -3.25, f32::NEG_INFINITY, f32::NAN];
        let found = round_trip(&numbers);
        assert_eq!(found[..4], numbers[..4]);
        assert!(found[4].is_nan());
        assert_eq!(
            round_trip(&[f32::MAX, f32::MIN]),
            [f32::INFINITY, f32::NEG_INFINITY]
        );
        assert!(round_trip(&[f32::NAN; 3]).iter().all(|x| x.is_nan()));
        // The least numbers, and zeros, whose sign is kept.
        let least = f32::from_bits(1);
        let zeros = round_trip(&[0.0, -0.0]);
        assert!(zeros[0].is_sign_positive() && zeros[1].is_sign_negative());
        assert_eq!(zeros, [0.0, 0.0]);
        assert_eq!(
            round_trip(&[least, f32::MIN_POSITIVE])[1],
            f32::MIN_POSITIVE
        );
    }

    #[test]
    fn ties_round_to_even() {
        // 2048 is the largest number of the block: the distance of halves there is 2, below it 1.
        let numbers = [2048.0, 1025.0, 1024.5, 1025.5, 1026.5];
        let found = round_trip(&numbers);
        assert_eq!(found, [2048.0, 1025.0, 1024.0, 1026.0, 1026.0]);
    }
}
