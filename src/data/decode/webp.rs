//! WebP: lossy and lossless, with and without transparency; the first frame of an animation.

use std::io::Cursor;

use image::ImageFormat;
use image_webp::{DecodingError, WebPDecoder};

use super::number::little_endian;
use super::orientation::orientation;
use super::{DataError, Opened, damaged, rgb_image};

/// Bytes of all prefix codes of a lossless bitstream at most: 65,536 groups of 5 codes, each with
/// a table of 1024 entries of 4 bytes, and what belongs to it.
const LARGEST_CODES: u64 = 65_536 * 5 * 4_400;

/// Bytes of prefix codes for each byte that describes them: 12 bytes can describe a code with a
/// full table.
const CODES_PER_BYTE: u64 = 400;

/// Reads the headers. Decoding takes the canvas, which frames are drawn on, and the planes and
/// intermediate buffers of a frame.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(fault)?;
    // This limits metadata only.
    decoder.set_memory_limit(bytes.len());
    let (width, height) = decoder.dimensions();
    let canvas = u64::from(width) * u64::from(height);
    let frames = Frames::read(bytes);
    let frame = frames.largest.max(canvas);
    let alpha = decoder.has_alpha() || decoder.is_animated();
    // Lossy: planes of 1.5 bytes a pixel. Transparency is a lossless image of 4 bytes, of which
    // one is kept. Lossless: 4 bytes, and at most 1 for its transforms.
    let per_pixel = match (frames.lossless, alpha) {
        (false, false) => 2,
        (true, false) => 5,
        (_, true) => 2 + 5 + 1,
    };
    let output = if decoder.is_animated() { 4 + 4 + 4 } else { 4 };
    let codes = match frames.lossless || alpha {
        true => LARGEST_CODES.min(CODES_PER_BYTE * bytes.len() as u64),
        false => 0,
    };
    // Lossy files have up to eight partitions whose lengths may exceed the file by 16 MiB.
    let partitions = bytes.len() as u64 + (16 << 20);
    Ok(Opened {
        width,
        height,
        memory: frame * per_pixel + canvas * output + codes + partitions,
        decode: Box::new(move || {
            let mut samples = vec![0; decoder.output_buffer_size().unwrap_or(usize::MAX)];
            decoder.read_image(&mut samples).map_err(fault)?;
            // As in libwebp, flags announce metadata. Unreadable metadata is no reason to reject
            // the image.
            let announced = |flag: u8| bytes.get(20).is_some_and(|flags| flags & flag != 0);
            let exif = decoder.exif_metadata().ok().flatten();
            let exif = exif.filter(|_| announced(8)).unwrap_or_default();
            let xmp = decoder.xmp_metadata().ok().flatten();
            let xmp = xmp.filter(|_| announced(4)).unwrap_or_default();
            let channels = if decoder.has_alpha() { 4 } else { 3 };
            let image = rgb_image(width, height, channels, samples);
            Ok((image, orientation(&exif, &xmp)))
        }),
    })
}

fn fault(error: DecodingError) -> DataError {
    damaged(ImageFormat::WebP, error)
}

/// What the bitstreams in a file claim.
#[derive(Default)]
struct Frames {
    /// Pixels of the largest one.
    largest: u64,
    lossless: bool,
}

impl Frames {
    /// Walks over the chunks of a RIFF file and of the animation frames in it.
    fn read(bytes: &[u8]) -> Frames {
        let mut frames = Frames::default();
        frames.chunks(bytes.get(12..).unwrap_or(&[]));
        frames
    }

    fn chunks(&mut self, mut rest: &[u8]) {
        while let Some(length) = little_endian(rest, 4, 4) {
            let length = length as usize;
            let (kind, data) = (&rest[..4], &rest[8..]);
            let content = data.get(..length).unwrap_or(data);
            match kind {
                b"VP8 " => {
                    let side = |at| Some(u64::from(little_endian(content, at, 2)? & 0x3FFF));
                    if let (Some(width), Some(height)) = (side(6), side(8)) {
                        self.largest = self.largest.max(width * height);
                    }
                }
                b"VP8L" => {
                    if let Some(extents) = little_endian(content, 1, 4) {
                        let side = |shift: u32| u64::from(extents >> shift & 0x3FFF) + 1;
                        self.largest = self.largest.max(side(0) * side(14));
                        self.lossless = true;
                    }
                }
                b"ANMF" => self.chunks(content.get(16..).unwrap_or(&[])),
                _ => {}
            }
            rest = data.get(length.saturating_add(length & 1)..).unwrap_or(&[]);
        }
    }
}
