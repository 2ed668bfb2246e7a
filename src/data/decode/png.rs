//! PNG: all colour types and depths; of an animation, the default image.
//!
//! Text and colour profiles are skipped: nothing here uses them, and inflated they may be larger
//! than any image.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};

use super::{DataError, Needs, damaged, rgb_image};

/// Bytes of the decoder's state and of metadata at most. Metadata is never larger than the file,
/// and its buffer, which doubles as it grows, has at most four times its size.
fn internal(bytes: &[u8]) -> usize {
    4 * bytes.len() + (1 << 20)
}

fn open(bytes: &[u8]) -> Decoder<Cursor<&[u8]>> {
    let limits = Limits {
        bytes: internal(bytes),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes, fewer than 8 bits, and transparent colours become samples of 8 bits.
    decoder.set_transformations(Transformations::EXPAND);
    decoder
}

/// The samples with an alpha channel, and three unfiltered rows.
pub(super) fn needs(bytes: &[u8]) -> Result<Needs, DataError> {
    let mut decoder = open(bytes);
    let info = decoder.read_header_info();
    let info = info.map_err(|error| damaged(ImageFormat::Png, error))?;
    let channels = match info.color_type {
        ColorType::Grayscale | ColorType::GrayscaleAlpha => 2,
        ColorType::Indexed | ColorType::Rgb | ColorType::Rgba => 4,
    };
    let row = u64::from(info.width) * channels * if wide(info.bit_depth) { 2 } else { 1 };
    Ok(Needs {
        width: info.width,
        height: info.height,
        memory: row
            .saturating_mul(u64::from(info.height) + 3)
            .saturating_add(internal(bytes) as u64),
    })
}

fn wide(depth: BitDepth) -> bool {
    depth == BitDepth::Sixteen
}

/// Decodes.
pub(super) fn pixels(bytes: &[u8]) -> Result<(RgbImage, Orientation), DataError> {
    let decode = || {
        let mut reader = open(bytes).read_info()?;
        let mut samples = vec![0; reader.output_buffer_size().unwrap_or(usize::MAX)];
        reader.next_frame(&mut samples)?;
        Ok((reader, samples))
    };
    let decoded: Result<(Reader<_>, Vec<u8>), png::DecodingError> = decode();
    let (mut reader, mut samples) = decoded.map_err(|error| damaged(ImageFormat::Png, error))?;
    let (color, depth) = reader.output_color_type();
    if wide(depth) {
        let count = samples.len() / 2;
        for index in 0..count {
            let value = u16::from_be_bytes([samples[2 * index], samples[2 * index + 1]]);
            samples[index] = ((u32::from(value) + 128) / 257) as u8;
        }
        samples.truncate(count);
    }
    // EXIF data may follow the pixels; damage there is no reason to reject the image.
    let _ = reader.finish();
    let info = reader.info();
    let exif = info.exif_metadata.as_deref();
    let orientation = exif.and_then(super::orientation);
    let image = rgb_image(info.width, info.height, color.samples(), samples);
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}
