//! BMP: palettes, run lengths, bit fields and full bytes.
//!
//! As in browsers, an alpha channel that is zero everywhere is none. As in Windows, pixels that
//! run lengths skip are black. Headers that the decoder refuses or misunderstands, but other
//! programs read, are rewritten.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::error::UnsupportedErrorKind;
use image::metadata::Orientation;
use image::{ImageDecoder, ImageError, ImageFormat, RgbImage};

use super::{DataError, Opened, damaged, rgb_image, unsupported};

/// Bytes from the start of a file that hold its headers and its palette.
const HEADERS: usize = 4096;

/// Sizes of headers, by which they are told apart: OS/2 1, Windows 3, Windows with four masks,
/// OS/2 2.
const OS2_1: u32 = 12;
const WINDOWS: u32 = 40;
const MASKS: u32 = 56;
const OS2_2: u32 = 64;

/// Values of the compression field: masks of three colours, and of alpha too.
const BIT_FIELDS: u32 = 3;
const ALPHA_BIT_FIELDS: u32 = 6;

/// Reads the headers. Decoding takes the samples, since rows are read one by one, and a copy of a
/// file whose header is rewritten.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let headers = rewritten(&bytes[..bytes.len().min(HEADERS)])?;
    let decoder = BmpDecoder::new(Cursor::new(&*headers)).map_err(fault)?;
    let (width, height) = decoder.dimensions();
    let copied = match headers {
        Cow::Owned(_) => bytes.len() as u64,
        Cow::Borrowed(_) => 0,
    };
    Ok(Opened {
        width,
        height,
        memory: decoder.total_bytes().saturating_add(copied),
        decode: Box::new(move || Ok((pixels(&rewritten(bytes)?)?, Orientation::NoTransforms))),
    })
}

/// The file with a header that the decoder understands.
///
/// - OS/2 2 has Windows' header and 24 bytes more.
/// - Masks of alpha lie behind a header of Windows 3 where a longer header has them.
/// - The palette may have more colours than pixels can name.
/// - Where the pixels begin may be 0, or the end of the header although a palette follows: they
///   begin behind it.
fn rewritten(bytes: &[u8]) -> Result<Cow<'_, [u8]>, DataError> {
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let (Some(start), Some(header)) = (word(10), word(14)) else {
        return Ok(bytes.into());
    };
    // Fields behind the end of a file are those of a truncated one, which the decoder refuses.
    let field = |at: usize| word(at).unwrap_or(0);
    let (bits, compression, colours) = match header {
        OS2_1 => (field(22) >> 16, 0, 0),
        _ => (field(26) >> 16, field(30), field(46)),
    };
    match (header, compression) {
        (OS2_2, 3) => return Err(unsupported(ImageFormat::Bmp, "Huffman coding")),
        (OS2_2, 4) => {
            return Err(unsupported(ImageFormat::Bmp, "run lengths of 24 bits"));
        }
        _ => {}
    }
    let end = 14 + u64::from(header);
    let masks = match (header, compression) {
        (WINDOWS, BIT_FIELDS) => 12,
        (WINDOWS, ALPHA_BIT_FIELDS) => 16,
        _ => 0,
    };
    let named = match bits {
        1..=8 => 1 << bits,
        _ => 0,
    };
    let entries = if colours == 0 { named } else { colours };
    let palette = u64::from(entries) * if header == OS2_1 { 3 } else { 4 };
    let pixels = match u64::from(start) {
        start if start == 0 || start == end && named > 0 => end + masks + palette,
        start if start < end + masks => {
            return Err(damaged(
                ImageFormat::Bmp,
                format!("its pixels begin at byte {start}, within its header"),
            ));
        }
        start => start,
    };
    let excess = named > 0 && colours > named;
    if pixels == u64::from(start) && !excess && header != OS2_2 && compression != ALPHA_BIT_FIELDS {
        return Ok(bytes.into());
    }

    let mut copy = bytes.to_vec();
    let mut set = |at: usize, value: u32| {
        if let Some(field) = copy.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    };
    let removed = if header == OS2_2 { OS2_2 - WINDOWS } else { 0 };
    let pixels = u32::try_from(pixels).unwrap_or(u32::MAX);
    set(10, pixels - removed);
    if excess {
        set(46, named);
    }
    if compression == ALPHA_BIT_FIELDS {
        set(30, BIT_FIELDS);
        if header == WINDOWS {
            set(14, MASKS);
        }
    }
    if header == OS2_2 {
        set(14, WINDOWS);
        let end = copy.len().min(end as usize);
        copy.drain(end.min(14 + WINDOWS as usize)..end);
    }
    Ok(copy.into())
}

fn fault(error: ImageError) -> DataError {
    match error {
        ImageError::Unsupported(unread) => match unread.kind() {
            UnsupportedErrorKind::GenericFeature(feature) => unsupported(ImageFormat::Bmp, feature),
            _ => unsupported(ImageFormat::Bmp, unread),
        },
        other => damaged(ImageFormat::Bmp, other),
    }
}

fn pixels(bytes: &[u8]) -> Result<RgbImage, DataError> {
    let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(fault)?;
    let (width, height) = decoder.dimensions();
    let channels = usize::from(decoder.color_type().channel_count());
    let mut samples = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image(&mut samples).map_err(fault)?;
    let alphas = || samples.iter().skip(3).step_by(4);
    if channels == 4 && alphas().all(|&alpha| alpha == 0) {
        samples
            .iter_mut()
            .skip(3)
            .step_by(4)
            .for_each(|alpha| *alpha = 255);
    }
    Ok(rgb_image(width, height, channels, samples))
}
