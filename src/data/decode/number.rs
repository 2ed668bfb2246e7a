//! Numbers in the headers of image files.

/// The number in `count` bytes, at most 4, from the byte `at` on; the first byte counts least.
/// `None` behind the end.
pub(super) fn little_endian(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    let digits = bytes.get(at..at.checked_add(count)?)?.iter();
    Some(digits.rev().fold(0, append))
}

/// As [`little_endian`], but the first byte counts most.
pub(super) fn big_endian(bytes: &[u8], at: usize, count: usize) -> Option<u32> {
    let digits = bytes.get(at..at.checked_add(count)?)?.iter();
    Some(digits.fold(0, append))
}

fn append(number: u32, digit: &u8) -> u32 {
    number << 8 | u32::from(*digit)
}
