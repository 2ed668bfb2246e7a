//! JPEG: which files are read, what they take, and their colours.
//!
//! `jpeg-decoder` decodes. The headers are read here first, because they decide four things: what
//! is refused by name instead of decoded wrongly, how much memory a decode takes, which transform
//! the colours have (by the rules of libjpeg, which all viewers follow), and the orientation.
//!
//! As in libjpeg, Huffman tables that the file lacks are the standard's, as in the frames of a
//! Motion JPEG. The scans of a progressive file need not refine all coefficients, by the standard
//! and in libjpeg: what they have is shown, but not smoothed as libjpeg does.

use image::ImageFormat;
use jpeg_decoder::{ColorTransform, Decoder};

use super::number::big_endian;
use super::orientation::orientation;
use super::{DataError, Opened, damaged, rgb_image, unsupported};

/// The start of an image and the `AVI1` segment of Motion JPEG, which makes the decoder use the
/// standard Huffman tables where the file has none.
const START: &[u8] = b"\xFF\xD8\xFF\xE0\0\x07AVI1\0";

/// Most rows and columns, the limit of libjpeg; `jpeg-decoder` counts rows in 16 bits.
const MOST_PIXELS: u32 = 65_500;

/// A component of the frame: a plane of samples.
struct Component {
    id: u8,
    /// Samples per MCU along a row and along a column.
    horizontal: u8,
    vertical: u8,
    /// Whether a scan has its first coefficients.
    scanned: bool,
    /// Whether a scan has this component alone.
    alone: bool,
}

/// The frame header (T.81, B.2.2).
struct Frame {
    /// The second byte of its marker, which tells the coding process.
    marker: u8,
    precision: u8,
    width: u32,
    height: u32,
    components: Vec<Component>,
}

/// What the marker segments say, up to the end of the image.
#[derive(Default)]
struct Header<'a> {
    frame: Option<Frame>,
    hierarchical: bool,
    jfif: bool,
    /// The colour transform of an Adobe segment.
    adobe: Option<u8>,
    /// The Exif segments before the first scan, which continue each other.
    exif: Vec<u8>,
    /// The last XMP segment before the first scan.
    xmp: &'a [u8],
    /// Whether a scan has begun.
    scanned: bool,
    /// Whether the end marker is there.
    ended: bool,
}

impl<'a> Header<'a> {
    /// Walks over the segments.
    ///
    /// They are skipped by their length, since metadata may contain a thumbnail JPEG. In
    /// entropy-coded data FF is followed by 00 or a restart marker unless a real marker begins.
    fn read(bytes: &'a [u8]) -> Header<'a> {
        let mut header = Header::default();
        let mut rest = bytes;
        while let Some(position) = rest.iter().position(|&byte| byte == 0xFF) {
            rest = &rest[position + 1..];
            match rest.first() {
                None => break,
                // Any number of FF bytes may precede a marker.
                Some(0xFF) => {}
                Some(0xD9) => {
                    header.ended = true;
                    break;
                }
                // An escaped FF, or a marker without a segment.
                Some(0x00 | 0x01 | 0xD0..=0xD8) => rest = &rest[1..],
                Some(&marker) => {
                    let Some(length) = big_endian(rest, 1, 2) else {
                        break;
                    };
                    let end = 1 + length as usize;
                    let Some(segment) = rest.get(3..end) else {
                        break;
                    };
                    header.segment(marker, segment);
                    rest = &rest[end..];
                }
            }
        }
        header
    }

    fn segment(&mut self, marker: u8, segment: &'a [u8]) {
        match (marker, segment) {
            // Frame headers; C4, C8 and CC are other markers.
            (
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF,
                [precision, _, _, _, _, _, components @ ..],
            ) => {
                let side = |at| big_endian(segment, at, 2).unwrap_or(0);
                self.hierarchical |= self.frame.is_some();
                self.frame = Some(Frame {
                    marker,
                    precision: *precision,
                    height: side(1),
                    width: side(3),
                    components: components.chunks_exact(3).map(Component::read).collect(),
                });
            }
            (0xDA, [_, scan @ ..]) => {
                self.scanned = true;
                let components = scan.get(..scan.len().saturating_sub(3)).unwrap_or(&[]);
                let first_coefficient = scan.get(components.len()) == Some(&0);
                let Some(frame) = &mut self.frame else { return };
                for entry in components.chunks_exact(2) {
                    let component = frame.components.iter_mut().find(|c| c.id == entry[0]);
                    let Some(component) = component else { continue };
                    component.scanned |= first_coefficient;
                    component.alone |= components.len() == 2;
                }
            }
            (0xDE, _) => self.hierarchical = true,
            (0xE0, [b'J', b'F', b'I', b'F', 0, ..]) => self.jfif = true,
            (0xE1, _) if !self.scanned => {
                if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
                    self.exif.extend(exif);
                }
                if let Some(xmp) = segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0") {
                    self.xmp = xmp;
                }
            }
            (
                0xEE,
                [
                    b'A',
                    b'd',
                    b'o',
                    b'b',
                    b'e',
                    _,
                    _,
                    _,
                    _,
                    _,
                    _,
                    transform,
                    ..,
                ],
            ) => {
                self.adobe = Some(*transform);
            }
            _ => {}
        }
    }

    /// The frame, if it is of a kind that is decoded correctly.
    fn supported(&self) -> Result<&Frame, DataError> {
        let refuse = |feature: &str| Err(unsupported(ImageFormat::Jpeg, feature));
        let Some(frame) = &self.frame else {
            return Err(damaged(ImageFormat::Jpeg, "it has no frame header"));
        };
        if self.hierarchical || matches!(frame.marker, 0xC5..=0xC7 | 0xCD..=0xCF) {
            return refuse("hierarchical coding");
        }
        match frame.marker {
            0xC0..=0xC2 => {}
            0xC3 => return refuse("lossless coding"),
            _ => return refuse("arithmetic coding"),
        }
        if frame.precision != 8 {
            return refuse(&format!("{} bits per sample", frame.precision));
        }
        if frame.height == 0 {
            return refuse("the number of rows after the pixels (DNL)");
        }
        if frame.width.max(frame.height) > MOST_PIXELS {
            return refuse(&format!("more than {MOST_PIXELS} pixels a side"));
        }
        if !matches!(frame.components.len(), 1 | 3 | 4) {
            return refuse(&format!("{} components", frame.components.len()));
        }
        if frame.components.iter().any(|c| c.factors().contains(&0)) {
            return Err(damaged(ImageFormat::Jpeg, "a sampling factor is 0"));
        }
        let largest = frame.largest_factors();
        for component in &frame.components {
            for (factor, largest) in component.factors().into_iter().zip(largest) {
                if largest % factor != 0 {
                    return refuse(&format!("the sampling factors {factor} and {largest}"));
                }
                // `jpeg-decoder` takes a scan of one component for as many blocks as an
                // interleaved scan has.
                if component.alone && factor > 1 && factor < largest {
                    return refuse(&format!(
                        "the sampling factors {factor} and {largest} in separate scans"
                    ));
                }
            }
        }
        if let Some(lacking) = frame.components.iter().position(|c| !c.scanned) {
            let reason = format!("no scan has its component {}", lacking + 1);
            return Err(damaged(ImageFormat::Jpeg, reason));
        }
        Ok(frame)
    }

    /// What the components mean. A JFIF segment decides before an Adobe segment, and both before
    /// the components' ids.
    fn transform(&self, frame: &Frame) -> ColorTransform {
        let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
        match (ids.len(), self.jfif, self.adobe) {
            (1, ..) => ColorTransform::Grayscale,
            (3, true, _) => ColorTransform::YCbCr,
            (3, false, Some(0)) => ColorTransform::RGB,
            (3, false, None) if ids == *b"RGB" => ColorTransform::RGB,
            (3, ..) => ColorTransform::YCbCr,
            (_, _, None | Some(0)) => ColorTransform::CMYK,
            _ => ColorTransform::YCCK,
        }
    }
}

impl Component {
    /// From its three bytes in the frame header.
    fn read(bytes: &[u8]) -> Component {
        Component {
            id: bytes[0],
            horizontal: bytes[1] >> 4,
            vertical: bytes[1] & 15,
            scanned: false,
            alone: false,
        }
    }

    fn factors(&self) -> [u8; 2] {
        [self.horizontal, self.vertical]
    }
}

impl Frame {
    /// The largest sampling factor along a row and along a column.
    fn largest_factors(&self) -> [u8; 2] {
        let largest = |a: [u8; 2], b: [u8; 2]| [a[0].max(b[0]), a[1].max(b[1])];
        self.components
            .iter()
            .map(Component::factors)
            .fold([1, 1], largest)
    }

    /// Samples of all components, each filled up to whole MCUs.
    fn samples(&self) -> u64 {
        let [horizontal, vertical] = self.largest_factors().map(u64::from);
        let columns = u64::from(self.width).div_ceil(8 * horizontal);
        let rows = u64::from(self.height).div_ceil(8 * vertical);
        let blocks = self.components.iter().map(Component::factors);
        let blocks: u64 = blocks.map(|[h, v]| u64::from(h) * u64::from(v)).sum();
        64 * blocks * columns * rows
    }
}

/// Reads the headers. Decoding takes planes of samples, two bytes for each coefficient on its way
/// to the inverse transform, in progressive files two bytes for each coefficient of all scans; then
/// the pixels.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, DataError> {
    let header = Header::read(bytes);
    let frame = header.supported()?;
    if !header.ended {
        return Err(damaged(ImageFormat::Jpeg, "it is truncated"));
    }
    let progressive = frame.marker == 0xC2;
    let per_sample = if progressive { 5 } else { 3 };
    let (width, height) = (frame.width, frame.height);
    let components = frame.components.len();
    let transform = header.transform(frame);
    let orientation = orientation(&header.exif, header.xmp);
    let pixels = u64::from(width) * u64::from(height) * components as u64;
    // A copy of the file, and of its metadata.
    let metadata = 2 * (bytes.len() + START.len()) as u64;
    Ok(Opened {
        width,
        height,
        memory: frame.samples() * per_sample + pixels + metadata,
        decode: Box::new(move || {
            let mut samples = samples(bytes, transform)?;
            if components == 4 {
                over_black_ink(&mut samples);
            }
            let channels = components.min(3);
            Ok((rgb_image(width, height, channels, samples), orientation))
        }),
    })
}

fn samples(bytes: &[u8], transform: ColorTransform) -> Result<Vec<u8>, DataError> {
    // The first two bytes are the start marker, by which the format was recognised. The decoder
    // reads byte by byte, which costs a tenth of its time from two slices.
    let bytes = [START, &bytes[2..]].concat();
    let mut decoder = Decoder::new(&bytes[..]);
    decoder.set_color_transform(transform);
    let decoded = decoder.decode();
    decoded.map_err(|error| damaged(ImageFormat::Jpeg, error))
}

/// Turns amounts of cyan, magenta, yellow and black ink into RGB, as Pillow does:
/// (255 − ink)·(255 − black)/255.
fn over_black_ink(samples: &mut Vec<u8>) {
    let pixels = samples.len() / 4;
    for pixel in 0..pixels {
        let light = |channel: usize| 255 - u32::from(samples[4 * pixel + channel]);
        let black = light(3);
        let rgb = [0, 1, 2].map(|ink| ((light(ink) * black + 127) / 255) as u8);
        samples[3 * pixel..3 * pixel + 3].copy_from_slice(&rgb);
    }
    samples.truncate(3 * pixels);
}
