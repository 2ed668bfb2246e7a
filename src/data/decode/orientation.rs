//! The orientation that an image's metadata demands, by the rules of Pillow's `exif_transpose`,
//! which training pipelines apply.
//!
//! The Exif field decides, whatever its value; without one, the first mention in XMP does. Values
//! other than 1 to 8 demand nothing.

use image::metadata::Orientation;

use super::number::{big_endian, little_endian};

/// The orientation by Exif data and an XMP packet, each empty if the image has none.
pub(super) fn orientation(exif: &[u8], xmp: &[u8]) -> Orientation {
    let value = in_exif(exif).or_else(|| in_xmp(xmp));
    let value = value.and_then(|value| u8::try_from(value).ok());
    let orientation = value.and_then(Orientation::from_exif);
    orientation.unwrap_or(Orientation::NoTransforms)
}

/// The first integer of tag 0x112 in IFD0, of type SHORT (3), LONG (4), SBYTE (6), SSHORT (8),
/// SLONG (9) or IFD (13). Pillow reads BYTE as text, so it is ignored.
fn in_exif(mut exif: &[u8]) -> Option<u32> {
    // Some programs begin as in a JPEG everywhere, or do so twice.
    for _ in 0..2 {
        exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    }
    let read = match exif.get(..4)? {
        b"II*\0" => little_endian,
        b"MM\0*" => big_endian,
        _ => return None,
    };
    let number = |at, count| read(exif, at, count);
    let directory = number(4, 4)? as usize;
    let fields = number(directory, 2)? as usize;
    (0..fields).find_map(|field| {
        let at = directory + 2 + 12 * field;
        if number(at, 2)? != 0x112 || exif.len() < at + 12 {
            return None;
        }
        let bytes = match number(at + 2, 2)? {
            6 => 1,
            3 | 8 => 2,
            4 | 9 | 13 => 4,
            _ => return None,
        };
        // What does not fit the field lies elsewhere.
        match number(at + 4, 4)?.saturating_mul(bytes) {
            0 => None,
            1..=4 => number(at + 8, bytes as usize),
            _ => number(number(at + 8, 4)? as usize, bytes as usize),
        }
    })
}

/// The digit of the first attribute or element `tiff:Orientation`.
fn in_xmp(xmp: &[u8]) -> Option<u32> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut rest = xmp;
    while let Some(at) = rest.windows(NAME.len()).position(|name| name == NAME) {
        rest = &rest[at + NAME.len()..];
        let value = rest
            .strip_prefix(b"=\"")
            .or_else(|| rest.strip_prefix(b">"));
        if let Some([digit @ b'0'..=b'9', ..]) = value {
            return Some(u32::from(digit - b'0'));
        }
    }
    None
}
