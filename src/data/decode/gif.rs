//! GIF: the first frame on its canvas.
//!
//! As in Pillow, a canvas that is too small grows until it holds the first frame. As in browsers,
//! the background colour is ignored: what the frame leaves free is transparent.

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, MemoryLimit};
use image::metadata::Orientation;
use image::{ImageFormat, Rgb, RgbImage};

use super::{DataError, Needs, damaged};

/// A decoder that has read the header of the first frame.
fn open(bytes: &[u8]) -> Result<Decoder<&[u8]>, DataError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // This limits metadata only, which is never larger than the file: frames are read into a
    // buffer of ours.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let open = || {
        let mut decoder = options.read_info(bytes)?;
        match decoder.next_frame_info()? {
            Some(_) => Ok(Some(decoder)),
            None => Ok(None),
        }
    };
    let opened: Result<_, DecodingError> = open();
    let opened = opened.map_err(|error| damaged(ImageFormat::Gif, error))?;
    opened.ok_or_else(|| damaged(ImageFormat::Gif, "it has no frame"))
}

/// The first frame: left, top, width and height; then width and height of the canvas.
fn extents(decoder: &Decoder<&[u8]>) -> ([u32; 4], [u32; 2]) {
    let frame = decoder.current_frame_info().expect("`open` found a frame");
    let frame = [frame.left, frame.top, frame.width, frame.height].map(u32::from);
    let [left, top, width, height] = frame;
    let canvas = [
        u32::from(decoder.width()).max(left + width),
        u32::from(decoder.height()).max(top + height),
    ];
    (frame, canvas)
}

/// A byte for each pixel of the frame, and the canvas.
pub(super) fn needs(bytes: &[u8]) -> Result<Needs, DataError> {
    let ([_, _, columns, rows], [width, height]) = extents(&open(bytes)?);
    let (frame, canvas) = (
        u64::from(columns) * u64::from(rows),
        u64::from(width) * u64::from(height),
    );
    let metadata = bytes.len() as u64;
    Ok(Needs {
        width,
        height,
        memory: frame + 3 * canvas + metadata,
    })
}

/// Decodes.
pub(super) fn pixels(bytes: &[u8]) -> Result<(RgbImage, Orientation), DataError> {
    let mut decoder = open(bytes)?;
    let ([left, top, columns, _], [width, height]) = extents(&decoder);
    let mut indices = vec![0; decoder.buffer_size()];
    let read = decoder.read_into_buffer(&mut indices);
    read.map_err(|error| damaged(ImageFormat::Gif, error))?;
    let palette = decoder.palette();
    let palette = palette.map_err(|error| damaged(ImageFormat::Gif, error))?;
    let transparent = decoder
        .current_frame_info()
        .and_then(|frame| frame.transparent);
    let mut canvas = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    for (position, index) in (0u32..).zip(indices) {
        if Some(index) != transparent {
            // A colour that the palette lacks is black.
            let colour = palette.as_chunks().0.get(usize::from(index));
            let (x, y) = (left + position % columns, top + position / columns);
            canvas.put_pixel(x, y, Rgb(colour.copied().unwrap_or_default()));
        }
    }
    Ok((canvas, Orientation::NoTransforms))
}
