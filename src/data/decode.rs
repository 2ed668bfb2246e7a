//! Decodes the bytes of an image file to pixels.
//!
//! The format is recognised by content, never by name: JPEG, PNG, GIF, BMP and WebP. Every image
//! becomes 8-bit RGB as a viewer shows it:
//!
//! - grey is repeated over the channels; 16 bits are rounded to 8;
//! - transparent pixels are blended with white, the usual background;
//! - CMYK and YCCK JPEGs become RGB by (255 − ink)·(255 − black)/255, as in Pillow;
//! - the EXIF orientation is applied;
//! - an animation yields its first frame.
//!
//! Colour profiles and gamma chunks are ignored, as training pipelines commonly do.
//! A JPEG without its end marker counts as damaged: the decoder would silently fill the missing
//! part with grey. Damage in the middle of a JPEG that still decodes goes unnoticed.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use super::{DataError, Resize};

/// Bytes of the largest decoded image: about 178 million RGB pixels.
const LARGEST: u64 = 512 << 20;

/// Decodes the content of an image file and resizes it to N x N: rows from the top, pixels from
/// the left, bytes R, G, B.
///
/// # Errors
/// If the bytes are empty, not an image, damaged, or would take too much memory. The error
/// lacks the file's name; [`DataError::in_file`] adds it.
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
    Ok(resize.apply(&decode(bytes)?))
}

/// Resizes pixels decoded elsewhere, [height, width, RGB], to N x N.
///
/// # Errors
/// [`DataError::EmptyImage`] if the number of bytes does not match the extents, or is zero.
pub fn fit_pixels(
    width: u32,
    height: u32,
    rgb: Vec<u8>,
    resize: Resize,
) -> Result<Vec<u8>, DataError> {
    let image = RgbImage::from_raw(width, height, rgb);
    match image.filter(|image| !image.as_raw().is_empty()) {
        Some(image) => Ok(resize.apply(&image)),
        None => Err(DataError::EmptyImage),
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

/// The picture format of content that is not read but common in collections.
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

/// Bytes that [`sniff`] needs at most.
#[cfg(not(target_arch = "wasm32"))]
pub(super) const SNIFFED: u64 = 16;

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

/// The image at its own size, upright.
fn decode(bytes: &[u8]) -> Result<RgbImage, DataError> {
    let format = sniff(bytes)?;
    let damaged = |reason: String| DataError::DamagedImage {
        format: name(format).unwrap_or("unknown"),
        reason,
    };
    if format == ImageFormat::Jpeg && !has_end_marker(bytes) {
        return Err(damaged("it is truncated".to_string()));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The limit below reports the extents in its own error.
    reader.no_limits();
    let mut decoder = reader.into_decoder().map_err(|e| damaged(e.to_string()))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(damaged(format!("its size is {width} x {height} pixels")));
    }
    if decoder.total_bytes() > LARGEST {
        return Err(DataError::ImageTooLarge { width, height });
    }
    // Unreadable metadata is no reason to reject the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| damaged(e.to_string()))?;
    image.apply_orientation(orientation);
    Ok(to_rgb(image))
}

/// 8-bit RGB, with transparency blended with white.
fn to_rgb(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let [red, green, blue, alpha] = image.get_pixel(x, y).0;
        let alpha = u32::from(alpha);
        let over_white =
            |value: u8| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([red, green, blue].map(over_white))
    })
}

/// Whether a JPEG has its end marker, FF D9, outside its metadata.
///
/// Segments are skipped by their length, since metadata may contain a thumbnail JPEG. In
/// entropy-coded data FF is followed by 00 or a restart marker unless a real marker begins.
fn has_end_marker(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(position) = rest.iter().position(|&byte| byte == 0xFF) {
        rest = &rest[position + 1..];
        match rest.first() {
            None => return false,
            // Any number of FF bytes may precede a marker.
            Some(0xFF) => {}
            Some(0xD9) => return true,
            // An escaped FF, or a marker without a segment.
            Some(0x00 | 0x01 | 0xD0..=0xD8) => rest = &rest[1..],
            Some(_) => {
                let Some(&[_, high, low]) = rest.first_chunk::<3>() else {
                    return false;
                };
                let length = usize::from(u16::from_be_bytes([high, low]));
                rest = rest.get(1 + length..).unwrap_or(&[]);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
