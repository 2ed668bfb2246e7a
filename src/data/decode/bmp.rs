//! BMP: palettes, run lengths, bit fields and full bytes.
//!
//! As in browsers, an alpha channel that is zero everywhere is none. As in Windows, pixels that
//! run lengths skip are black. As in Pillow, a run ends at the end of its row. Headers that the
//! decoder refuses or misunderstands, but other programs read, are rewritten.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::error::UnsupportedErrorKind;
use image::metadata::Orientation;
use image::{ImageDecoder, ImageError, ImageFormat, Rgb, RgbImage};

use super::number::little_endian;
use super::{DataError, Opened, damaged, rgb_image, unsupported};

/// Bytes from the start of a file that hold its headers and its palette.
const HEADERS: usize = 4096;

/// Sizes of headers, by which they are told apart: OS/2 1, Windows 3, Windows with four masks,
/// OS/2 2.
const OS2_1: u32 = 12;
const WINDOWS: u32 = 40;
const MASKS: u32 = 56;
const OS2_2: u32 = 64;

/// Values of the compression field: run lengths of 8 and of 4 bits, masks of three colours, and of
/// alpha too.
const RUN_LENGTHS_8: u32 = 1;
const RUN_LENGTHS_4: u32 = 2;
const BIT_FIELDS: u32 = 3;
const ALPHA_BIT_FIELDS: u32 = 6;

/// A file with headers that the decoder understands.
struct Rewritten<'a> {
    bytes: Cow<'a, [u8]>,
    runs: Option<RunLengths>,
}

/// Pixels by runs of palette indices.
struct RunLengths {
    /// Where they begin.
    start: usize,
    /// Bits of an index.
    bits: u32,
    top_down: bool,
}

/// Reads the headers. Decoding takes the samples, since rows are read one by one, and a copy of a
/// file whose header is rewritten.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let headers = rewritten(&bytes[..bytes.len().min(HEADERS)])?;
    let decoder = BmpDecoder::new(Cursor::new(&*headers.bytes)).map_err(fault)?;
    let (width, height) = decoder.dimensions();
    let copied = match headers.bytes {
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
/// - The number of planes, which is 1, may be wrong.
/// - Rows of run lengths may be stored from the top.
/// - The palette may have more colours than pixels can name.
/// - Where the pixels begin may be 0, or the end of the header although a palette follows: they
///   begin behind it.
fn rewritten(bytes: &[u8]) -> Result<Rewritten<'_>, DataError> {
    // Fields behind the end of a file are those of a truncated one, which the decoder refuses.
    let field = |at, count| little_endian(bytes, at, count).unwrap_or(0);
    let (start, header) = (field(10, 4), field(14, 4));
    let planes_at = if header == OS2_1 { 22 } else { 26 };
    let (planes, bits) = (field(planes_at, 2), field(planes_at + 2, 2));
    let (compression, colours, height) = match header {
        OS2_1 => (0, 0, 0),
        _ => (field(30, 4), field(46, 4), field(22, 4).cast_signed()),
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
    let removed = if header == OS2_2 { OS2_2 - WINDOWS } else { 0 };
    let pixels = u32::try_from(pixels).unwrap_or(u32::MAX) - removed;
    let excess = named > 0 && colours > named;
    let runs = [RUN_LENGTHS_8, RUN_LENGTHS_4].contains(&compression);
    let runs = runs.then_some(RunLengths {
        start: pixels as usize,
        bits,
        top_down: height < 0,
    });
    let turned = runs.is_some() && height < 0;
    let understood = pixels == start
        && !excess
        && header != OS2_2
        && compression != ALPHA_BIT_FIELDS
        && planes == 1
        && !turned;
    if understood {
        return Ok(Rewritten {
            bytes: bytes.into(),
            runs,
        });
    }

    let mut copy = bytes.to_vec();
    let mut set = |at: usize, value: u32| {
        if let Some(field) = copy.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    };
    set(10, pixels);
    set(planes_at, bits << 16 | 1);
    if turned {
        set(22, height.unsigned_abs());
    }
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
    Ok(Rewritten {
        bytes: copy.into(),
        runs,
    })
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

fn pixels(Rewritten { bytes, runs }: &Rewritten<'_>) -> Result<RgbImage, DataError> {
    let decoder = BmpDecoder::new(Cursor::new(&**bytes)).map_err(fault)?;
    let (width, height) = decoder.dimensions();
    if let (Some(runs), Some(palette)) = (runs, decoder.get_palette()) {
        let mut image = RgbImage::new(width, height);
        return match draw(bytes, runs, palette, &mut image) {
            Some(()) => Ok(image),
            None => Err(damaged(ImageFormat::Bmp, "its run lengths are truncated")),
        };
    }
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

/// Draws runs of pixels on a black image; `None` if the bytes end before the pixels.
///
/// Two bytes are a number of pixels and their index, or 0 and what else there is: the end of the
/// row (0) or of the image (1), pixels and rows to skip (2), or a number of indices.
fn draw(bytes: &[u8], runs: &RunLengths, palette: &[[u8; 3]], image: &mut RgbImage) -> Option<()> {
    let (width, height) = image.dimensions();
    let index = |byte: u8, at: usize| match (runs.bits, at % 2) {
        (4, 0) => byte >> 4,
        (4, _) => byte & 15,
        _ => byte,
    };
    let mut rest = bytes.get(runs.start..)?;
    let (mut x, mut y) = (0, 0);
    while y < height {
        let Some((&[count, value], after)) = rest.split_first_chunk() else {
            // Only the end of the last row is missing.
            return (y + 1 == height && x == width).then_some(());
        };
        rest = after;
        let mut run = |count: u8, index: &dyn Fn(usize) -> u8| {
            let row = if runs.top_down { y } else { height - 1 - y };
            let end = (x + u32::from(count)).min(width);
            for (at, x) in (x..end).enumerate() {
                image.put_pixel(x, row, Rgb(palette[usize::from(index(at))]));
            }
            x = end;
        };
        match (count, value) {
            (0, 0) => (x, y) = (0, y + 1),
            (0, 1) => break,
            (0, 2) => {
                let (&[right, up], after) = rest.split_first_chunk()?;
                (x, y) = ((x + u32::from(right)).min(width), y + u32::from(up));
                rest = after;
            }
            (0, count) => {
                let length = (usize::from(count) * runs.bits as usize).div_ceil(8);
                let indices = rest.get(..length)?;
                run(count, &|at| index(indices[at * runs.bits as usize / 8], at));
                rest = rest.get(length.next_multiple_of(2)..).unwrap_or(&[]);
            }
            (count, value) => run(count, &|at| index(value, at)),
        }
    }
    Some(())
}
