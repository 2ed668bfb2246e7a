//! PNG: all colour types and depths; of an animation, the default image.
//!
//! Colour profiles are skipped: nothing here uses them, and inflated they may be larger than any
//! image. Text is read if it may tell the orientation.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use png::{BitDepth, ColorType, Decoder, DecodingError, Info, Limits, Reader, Transformations};

use super::orientation::orientation;
use super::{DataError, Opened, damaged, rgb_image};

/// Bytes that compressed text may have inflated. A JPEG's Exif data has at most 64 KiB, which are
/// twice as many hexadecimal digits.
const LARGEST_TEXT: usize = 256 << 10;

/// Bytes of the decoder's state and of metadata at most. Metadata is never larger than the file,
/// and its buffer, which doubles as it grows, has at most four times its size.
fn internal(bytes: &[u8]) -> usize {
    4 * bytes.len() + (1 << 20)
}

/// Reads the header. Decoding takes the samples with an alpha channel, and three unfiltered rows.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let limits = Limits {
        bytes: internal(bytes),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes, fewer than 8 bits, and transparent colours become samples of 8 bits.
    decoder.set_transformations(Transformations::EXPAND);
    let info = decoder.read_header_info().map_err(fault)?;
    let (width, height) = (info.width, info.height);
    let channels = match info.color_type {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 2,
        ColorType::Indexed | ColorType::Rgb | ColorType::Rgba => 4,
    };
    let row = u64::from(width) * channels * if wide(info.bit_depth) { 2 } else { 1 };
    let internal = (internal(bytes) + 4 * LARGEST_TEXT) as u64;
    let samples = row.saturating_mul(u64::from(height) + 3);
    Ok(Opened {
        width,
        height,
        memory: samples.saturating_add(internal),
        decode: Box::new(|| pixels(decoder)),
    })
}

fn fault(error: DecodingError) -> DataError {
    damaged(ImageFormat::Png, error)
}

fn wide(depth: BitDepth) -> bool {
    depth == BitDepth::Sixteen
}

fn pixels(decoder: Decoder<Cursor<&[u8]>>) -> Result<(RgbImage, Orientation), DataError> {
    let mut reader: Reader<_> = decoder.read_info().map_err(fault)?;
    // At another length the decoder panics.
    let palette = reader.info().palette.as_ref().map_or(0, |p| p.len());
    if palette % 3 != 0 {
        let reason = format!("its palette has {palette} bytes, not three for each colour");
        return Err(damaged(ImageFormat::Png, reason));
    }
    let mut samples = vec![0; reader.output_buffer_size().unwrap_or(usize::MAX)];
    reader.next_frame(&mut samples).map_err(fault)?;
    let (color, depth) = reader.output_color_type();
    if wide(depth) {
        let count = samples.len() / 2;
        for index in 0..count {
            let value = u16::from_be_bytes([samples[2 * index], samples[2 * index + 1]]);
            samples[index] = ((u32::from(value) + 128) / 257) as u8;
        }
        samples.truncate(count);
    }
    // Metadata may follow the pixels; damage there is no reason to reject the image.
    let _ = reader.finish();
    let info = reader.info();
    let exif = match &info.exif_metadata {
        Some(exif) => exif.to_vec(),
        None => raw_profile(&text(info, "Raw profile type exif")),
    };
    let xmp = text(info, "XML:com.adobe.xmp");
    let orientation = orientation(&exif, xmp.as_bytes());
    let image = rgb_image(info.width, info.height, color.samples(), samples);
    Ok((image, orientation))
}

/// The last text with a keyword; empty if there is none, or it has more than [`LARGEST_TEXT`]
/// bytes.
fn text(info: &Info, keyword: &str) -> String {
    let is_small = |bytes: usize| bytes <= LARGEST_TEXT;
    let international = info.utf8_text.iter().rfind(|text| text.keyword == keyword);
    let mut compressed = info.compressed_latin1_text.iter();
    let compressed = compressed.rfind(|text| text.keyword == keyword);
    let mut plain = info.uncompressed_latin1_text.iter();
    let plain = plain.rfind(|text| text.keyword == keyword);
    let text = match (international, compressed, plain) {
        (Some(text), ..) => {
            let mut text = text.clone();
            let inflated = text.decompress_text_with_limit(LARGEST_TEXT);
            inflated.and_then(|()| text.get_text())
        }
        (None, Some(text), _) => {
            let mut text = text.clone();
            let inflated = text.decompress_text_with_limit(LARGEST_TEXT);
            inflated.and_then(|()| text.get_text())
        }
        (None, None, Some(text)) if is_small(text.text.len()) => Ok(text.text.clone()),
        (None, None, _) => Ok(String::new()),
    };
    text.ok()
        .filter(|text| is_small(text.len()))
        .unwrap_or_default()
}

/// The bytes of ImageMagick's form of metadata: three lines of which the last tells the length,
/// then hexadecimal digits.
fn raw_profile(text: &str) -> Vec<u8> {
    let digits = text.split('\n').skip(3).flat_map(str::chars);
    let digits: Vec<u8> = digits
        .filter_map(|digit| Some(digit.to_digit(16)? as u8))
        .collect();
    let pairs = digits.as_chunks().0.iter();
    pairs.map(|[high, low]| high << 4 | low).collect()
}
