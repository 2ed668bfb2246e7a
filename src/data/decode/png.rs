//! PNG: all colour types and depths; of an animation, the default image.
//!
//! Colour profiles are skipped: nothing here uses them, and inflated they may be larger than any
//! image. Text is read if it may tell the orientation.
//!
//! As in Pillow, a file may end behind its pixels, and the check sums of their chunks may be wrong if
//! that of the compressed pixels is right or missing.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use png::text_metadata::{ITXtChunk, ZTXtChunk};
use png::{
    BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Info, Limits, Reader,
    Transformations,
};

use super::number::big_endian;
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

/// Reads the header. Decoding takes the samples with an alpha channel, and three unfiltered rows;
/// of a file that is repaired, also a copy.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let mut decoder = decoder(bytes, DecodeOptions::default());
    let info = decoder.read_header_info().map_err(fault)?;
    let (width, height) = (info.width, info.height);
    let channels = match info.color_type {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 2,
        ColorType::Indexed | ColorType::Rgb | ColorType::Rgba => 4,
    };
    let row = u64::from(width) * channels * if wide(info.bit_depth) { 2 } else { 1 };
    let internal = (bytes.len() + internal(bytes) + 4 * LARGEST_TEXT) as u64;
    let samples = row.saturating_mul(u64::from(height) + 3);
    Ok(Opened {
        width,
        height,
        memory: samples.saturating_add(internal),
        decode: Box::new(move || {
            pixels(decoder).or_else(|error| repaired_pixels(bytes).ok_or(error))
        }),
    })
}

fn decoder(bytes: &[u8], options: DecodeOptions) -> Decoder<Cursor<&[u8]>> {
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(Limits {
        bytes: internal(bytes),
    });
    decoder.set_ignore_iccp_chunk(true);
    // Palettes, fewer than 8 bits, and transparent colours become samples of 8 bits.
    decoder.set_transformations(Transformations::EXPAND);
    decoder
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

/// The pixels of a damaged file, if it can be repaired and its compressed pixels have their own check
/// sum, or lack it.
fn repaired_pixels(bytes: &[u8]) -> Option<(RgbImage, Orientation)> {
    let copy = repaired(bytes).filter(|copy| copy != bytes)?;
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(false);
    pixels(decoder(&copy, options)).ok()
}

/// The file with the right check sum of every chunk of pixels, and an end.
fn repaired(bytes: &[u8]) -> Option<Vec<u8>> {
    let (signature, mut rest) = bytes.split_at_checked(8)?;
    let mut copy = Vec::with_capacity(bytes.len() + 24);
    copy.extend(signature);
    while let (Some(length), Some(kind)) = (big_endian(rest, 0, 4), rest.get(4..8)) {
        let end = (length as usize).saturating_add(12);
        match (kind, rest.get(..end)) {
            (b"IEND", _) => break,
            (b"IDAT", _) => {
                let data = rest.get(8..end - 4).unwrap_or(&rest[8..]);
                copy.extend(chunk(b"IDAT", data));
            }
            (_, Some(whole)) => copy.extend(whole),
            (_, None) => break,
        }
        rest = rest.get(end..).unwrap_or(&[]);
    }
    copy.extend(chunk(b"IEND", b""));
    Some(copy)
}

/// A chunk with its check sum (PNG, D).
pub(super) fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut chunk = (data.len() as u32).to_be_bytes().to_vec();
    chunk.extend(kind);
    chunk.extend(data);
    let sum = chunk[4..].iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 * (sum & 1))
        })
    });
    chunk.extend((!sum).to_be_bytes());
    chunk
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
            let inflate = ITXtChunk::decompress_text_with_limit;
            inflated(text, inflate, ITXtChunk::get_text)
        }
        (None, Some(text), _) => {
            let inflate = ZTXtChunk::decompress_text_with_limit;
            inflated(text, inflate, ZTXtChunk::get_text)
        }
        (None, None, Some(text)) if is_small(text.text.len()) => Ok(text.text.clone()),
        (None, None, _) => Ok(String::new()),
    };
    text.ok()
        .filter(|text| is_small(text.len()))
        .unwrap_or_default()
}

/// A text, inflated to at most [`LARGEST_TEXT`] bytes.
fn inflated<T: Clone>(
    text: &T,
    inflate: fn(&mut T, usize) -> Result<(), DecodingError>,
    read: fn(&T) -> Result<String, DecodingError>,
) -> Result<String, DecodingError> {
    let mut text = text.clone();
    inflate(&mut text, LARGEST_TEXT)?;
    read(&text)
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
