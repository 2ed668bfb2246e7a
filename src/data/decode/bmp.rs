//! BMP: palettes, run lengths, bit fields and full bytes.
//!
//! As in browsers, an alpha channel that is zero everywhere is none. As in Windows, pixels that
//! run lengths skip are black.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::error::UnsupportedErrorKind;
use image::metadata::Orientation;
use image::{ImageDecoder, ImageError, ImageFormat, RgbImage};

use super::{DataError, Needs, damaged, rgb_image, unsupported};

fn open(bytes: &[u8]) -> Result<BmpDecoder<Cursor<&[u8]>>, DataError> {
    // The decoder would read the header as pixels.
    let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    if let (Some(start), Some(header)) = (word(10), word(14))
        && start < header.saturating_add(14)
    {
        return Err(damaged(
            ImageFormat::Bmp,
            format!("its pixels begin at byte {start}, within its header"),
        ));
    }
    BmpDecoder::new(Cursor::new(bytes)).map_err(fault)
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

/// The samples; rows are read one by one.
pub(super) fn needs(bytes: &[u8]) -> Result<Needs, DataError> {
    let decoder = open(bytes)?;
    let (width, height) = decoder.dimensions();
    Ok(Needs {
        width,
        height,
        memory: decoder.total_bytes(),
    })
}

/// Decodes.
pub(super) fn pixels(bytes: &[u8]) -> Result<(RgbImage, Orientation), DataError> {
    let decoder = open(bytes)?;
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
    let image = rgb_image(width, height, channels, samples);
    Ok((image, Orientation::NoTransforms))
}
