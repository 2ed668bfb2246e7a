//! GIF: the first frame on its canvas.
//!
//! As in Pillow, a canvas that is too small grows until it holds the first frame, and unknown
//! blocks are skipped. As in browsers, the background colour is ignored: what the frame leaves
//! free is transparent.

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, MemoryLimit};
use image::metadata::Orientation;
use image::{ImageFormat, Rgb, RgbImage};

use super::{DataError, Opened, damaged};

/// Reads the header of the first frame. Decoding takes a byte for each pixel of the frame, and
/// the canvas.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.allow_unknown_blocks(true);
    // This limits metadata only, which is never larger than the file: frames are read into a
    // buffer of ours.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = options.read_info(bytes).map_err(fault)?;
    let canvas = [decoder.width(), decoder.height()].map(u32::from);
    let frame = decoder.next_frame_info().map_err(fault)?;
    let frame = frame.ok_or_else(|| damaged(ImageFormat::Gif, "it has no frame"))?;
    let transparent = frame.transparent;
    let corner = [frame.left, frame.top].map(u32::from);
    let [columns, rows] = [frame.width, frame.height].map(u32::from);
    if columns == 0 || rows == 0 {
        return Err(damaged(ImageFormat::Gif, "its first frame has no pixels"));
    }
    let width = canvas[0].max(corner[0] + columns);
    let height = canvas[1].max(corner[1] + rows);
    let pixels = |width, height| u64::from(width) * u64::from(height);
    let metadata = bytes.len() as u64;
    Ok(Opened {
        width,
        height,
        memory: pixels(columns, rows) + 3 * pixels(width, height) + metadata,
        decode: Box::new(move || {
            let mut canvas = RgbImage::from_pixel(width, height, Rgb([255; 3]));
            draw(decoder, transparent, corner, columns, &mut canvas).map_err(fault)?;
            Ok((canvas, Orientation::NoTransforms))
        }),
    })
}

fn fault(error: DecodingError) -> DataError {
    damaged(ImageFormat::Gif, error)
}

/// Draws the frame whose header was read, with `columns` pixels in a row, from its corner on.
fn draw(
    mut decoder: Decoder<&[u8]>,
    transparent: Option<u8>,
    [left, top]: [u32; 2],
    columns: u32,
    canvas: &mut RgbImage,
) -> Result<(), DecodingError> {
    let mut indices = vec![0; decoder.buffer_size()];
    decoder.read_into_buffer(&mut indices)?;
    let palette = decoder.palette()?;
    for (position, index) in (0u32..).zip(indices) {
        if Some(index) != transparent {
            // A colour that the palette lacks is black.
            let colour = palette.as_chunks().0.get(usize::from(index));
            let (x, y) = (left + position % columns, top + position / columns);
            canvas.put_pixel(x, y, Rgb(colour.copied().unwrap_or_default()));
        }
    }
    Ok(())
}
