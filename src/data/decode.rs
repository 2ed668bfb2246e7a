//! Decodes the bytes of an image file to pixels.
//!
//! The format is recognised by content, never by name: JPEG, PNG, GIF, BMP and WebP. Every image
//! becomes 8-bit RGB as a viewer shows it:
//!
//! - grey is repeated over the channels; 16 bits are rounded to 8;
//! - transparent pixels are blended with white, the usual background;
//! - CMYK and YCCK JPEGs become RGB by (255 − ink)·(255 − black)/255, as in Pillow;
//! - the orientation of Exif or XMP metadata is applied (`orientation`);
//! - an animation yields its first frame.
//!
//! Colour profiles and gamma chunks are ignored, as training pipelines commonly do.
//! A JPEG without its end marker or without a scan of each component counts as damaged: the
//! missing part would be grey. Damage in the middle of a JPEG that still decodes goes unnoticed.
//! JPEGs with arithmetic, lossless or hierarchical coding or with more than 8 bits are refused by
//! name.
//!
//! Each format has a file here with a function `open`, which reads headers, bounds the memory of
//! a decode, and returns a function that decodes. A decode starts when [`DECODE_MEMORY`] has that
//! much left, so that neither one file nor one file per core exceeds it; and `file` bounds the
//! bytes of the files.

mod bmp;
mod budget;
#[cfg(not(target_arch = "wasm32"))]
mod file;
mod gif;
mod jpeg;
mod number;
mod orientation;
mod png;
mod webp;

use std::sync::LazyLock;

use image::metadata::Orientation;
use image::{DynamicImage, ImageFormat, RgbImage};

use super::{DataError, Resize};
use crate::memory;
use budget::{Budget, Share};

#[cfg(not(target_arch = "wasm32"))]
pub use file::decode_image_file;
#[cfg(not(target_arch = "wasm32"))]
pub(super) use file::{read_start, with_image_file};

/// Bytes that all decodes of the process take together at most, whatever the files claim: 2 GiB,
/// in the browser 512 MiB.
///
/// If less than twice that is available ([`memory::available`]) when the first image is decoded, as
/// in a small container, the limit is half of what is available.
///
/// An image that alone would need more is refused. A pixel takes 6 to 23 bytes, by format: a JPEG
/// of a camera 11, so that up to 200 million pixels are decoded, and a PNG 7 or 11. The bytes of
/// the file come on top; see [`LARGEST_FILE`].
pub const DECODE_MEMORY: u64 = if cfg!(target_arch = "wasm32") {
    512 << 20
} else {
    2 << 30
};

/// Bytes of the largest image file that is read, and of all that are in memory at the same time.
pub const LARGEST_FILE: u64 = 256 << 20;

/// What concurrent decodes share.
static MEMORY: LazyLock<Budget> = LazyLock::new(|| Budget::new(limit(memory::available())));

/// The limit of all decodes, by the bytes that are available.
fn limit(available: Option<u64>) -> u64 {
    available.map_or(DECODE_MEMORY, |bytes| DECODE_MEMORY.min(bytes / 2))
}

/// Decodes the content of an image file and resizes it to N x N: rows from the top, pixels from
/// the left, bytes R, G, B.
///
/// # Errors
/// If the bytes are empty, not an image, damaged, of an unsupported kind, or would take more than
/// [`DECODE_MEMORY`]. The error lacks the file's name; [`DataError::in_file`] adds it.
///
/// ```
/// use pyr_wgpu::data::{Resize, decode_image};
///
/// // One red pixel, 24 bits, as a BMP file.
/// let mut bmp = Vec::from(*b"BM");
/// for word in [58, 0, 54, 40, 1, 1, 1 | 24 << 16, 0, 4, 0, 0, 0, 0] {
///     bmp.extend(u32::to_le_bytes(word));
/// }
/// bmp.extend([0, 0, 255, 0]);
/// let pixels = decode_image(&bmp, Resize::whole(2)).unwrap();
/// assert_eq!(pixels, [255, 0, 0].repeat(4));
///
/// assert!(decode_image(b"no image", Resize::whole(2)).is_err());
/// ```
pub fn decode_image(bytes: &[u8], resize: Resize) -> Result<Vec<u8>, DataError> {
    let (image, _share) = decode(bytes)?;
    Ok(resize.apply(&image))
}

/// Resizes pixels decoded elsewhere, [height, width, RGB], to N x N.
///
/// # Errors
/// [`DataError::PixelCount`] if the number of bytes does not match the extents, or is zero.
pub fn fit_pixels(
    width: u32,
    height: u32,
    rgb: Vec<u8>,
    resize: Resize,
) -> Result<Vec<u8>, DataError> {
    let bytes = rgb.len();
    let expected = (u64::from(width) * u64::from(height)).checked_mul(3);
    let fits = bytes > 0 && expected == Some(bytes as u64);
    // A longer buffer would be accepted.
    match RgbImage::from_raw(width, height, rgb).filter(|_| fits) {
        Some(image) => Ok(resize.apply(&image)),
        None => Err(DataError::PixelCount {
            width,
            height,
            bytes,
        }),
    }
}

/// Recognises the format by the first bytes, without decoding.
///
/// # Errors
/// If there are none, or they belong to no supported format.
pub(super) fn sniff(start: &[u8]) -> Result<ImageFormat, DataError> {
    if start.is_empty() {
        return Err(DataError::EmptyImage);
    }
    match image::guess_format(start) {
        Ok(format) if name(format).is_some() => Ok(format),
        _ => Err(match unread_format(start) {
            Some(format) => DataError::UnreadFormat { format },
            None => DataError::NotAnImage,
        }),
    }
}

/// The image format of content that is not read but common in collections.
fn unread_format(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some("TIFF"),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4)? {
            b"avif" | b"avis" => Some("AVIF"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" => Some("HEIC"),
            _ => None,
        },
        [0, 0, 0, 12, b'J', b'X', b'L', b' ', ..] => Some("JPEG XL"),
        [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] => Some("JPEG 2000"),
        [b'8', b'B', b'P', b'S', ..] => Some("Photoshop"),
        _ => None,
    }
}

/// The name of a supported format.
fn name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Bmp => Some("BMP"),
        ImageFormat::Gif => Some("GIF"),
        ImageFormat::Jpeg => Some("JPEG"),
        ImageFormat::Png => Some("PNG"),
        ImageFormat::WebP => Some("WebP"),
        _ => None,
    }
}

/// An image whose headers were read.
struct Opened<'a> {
    width: u32,
    height: u32,
    /// Bytes that are allocated at the same time at most: by a format, until the samples are
    /// decoded; [`open`] adds the copies that follow.
    memory: u64,
    /// Decodes the pixels, and returns the orientation that metadata demands.
    decode: Box<dyn FnOnce() -> Result<(RgbImage, Orientation), DataError> + 'a>,
}

/// Reads the headers, and adds the memory of the copies that follow the decode.
fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let format = sniff(bytes)?;
    let opened = match format {
        ImageFormat::Bmp => bmp::open(bytes),
        ImageFormat::Gif => gif::open(bytes),
        ImageFormat::Jpeg => jpeg::open(bytes),
        ImageFormat::Png => png::open(bytes),
        ImageFormat::WebP => webp::open(bytes),
        _ => Err(DataError::NotAnImage),
    }?;
    let (width, height) = (opened.width, opened.height);
    if width == 0 || height == 0 {
        return Err(damaged(
            format,
            format!("its size is {width} x {height} pixels"),
        ));
    }
    // A copy in RGB, or turned; at the end both may be RGB. Tables and threads take a little.
    let rgb = (u64::from(width) * u64::from(height)).saturating_mul(3);
    let memory = opened
        .memory
        .saturating_add(rgb)
        .max(rgb.saturating_mul(2))
        .saturating_add(1 << 20);
    Ok(Opened { memory, ..opened })
}

/// Bytes that [`decode_image`] reserves for a file before it decodes: an upper bound of what is
/// allocated at the same time, besides the bytes of the file and the resized image.
///
/// # Errors
/// If the headers cannot be read.
pub fn decode_memory(bytes: &[u8]) -> Result<u64, DataError> {
    Ok(open(bytes)?.memory)
}

/// The image at its own size, upright, with the memory that was reserved for it.
fn decode(bytes: &[u8]) -> Result<(RgbImage, Share<'static>), DataError> {
    let Opened {
        width,
        height,
        memory,
        decode,
    } = open(bytes)?;
    if memory > MEMORY.total() {
        return Err(DataError::ImageTooLarge {
            width,
            height,
            memory,
            limit: MEMORY.total(),
        });
    }
    let share = MEMORY.take(memory);
    let (image, orientation) = decode()?;
    let mut image = DynamicImage::from(image);
    image.apply_orientation(orientation);
    Ok((image.into_rgb8(), share))
}

/// RGB from samples of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 channels (RGB, alpha), with
/// transparency blended with white.
fn rgb_image(width: u32, height: u32, channels: usize, mut samples: Vec<u8>) -> RgbImage {
    let over_white = |value: u8, alpha: u8| {
        let alpha = u32::from(alpha);
        ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let samples = match channels {
        1 => samples.into_iter().flat_map(|grey| [grey; 3]).collect(),
        2 => {
            let pixels = samples.as_chunks().0.iter();
            pixels
                .flat_map(|&[grey, alpha]| [over_white(grey, alpha); 3])
                .collect()
        }
        4 => {
            // In place: a pixel never ends behind the start of the next one.
            let pixels = samples.len() / 4;
            for pixel in 0..pixels {
                let sample = |channel: usize| samples[4 * pixel + channel];
                let rgb = [0, 1, 2].map(|channel| over_white(sample(channel), sample(3)));
                samples[3 * pixel..3 * pixel + 3].copy_from_slice(&rgb);
            }
            samples.truncate(3 * pixels);
            samples
        }
        _ => samples,
    };
    RgbImage::from_raw(width, height, samples).expect("decoders fill the extents they report")
}

fn damaged(format: ImageFormat, reason: impl ToString) -> DataError {
    DataError::DamagedImage {
        format: name(format).unwrap_or("unknown"),
        reason: reason.to_string(),
    }
}

fn unsupported(format: ImageFormat, feature: impl ToString) -> DataError {
    DataError::UnsupportedImage {
        format: name(format).unwrap_or("unknown"),
        feature: feature.to_string(),
    }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod tests;
