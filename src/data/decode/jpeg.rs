//! JPEG: which files are read, what they take, and their colours.
//!
//! `jpeg-decoder` decodes. The headers are read here first, because they decide three things: what
//! is refused by name instead of decoded wrongly, how much memory a decode takes, and which
//! transform the colours have (by the rules of libjpeg, which all viewers follow).

use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};
use jpeg_decoder::{ColorTransform, Decoder};

use super::{DataError, Needs, damaged, rgb_image, unsupported};

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
    width: u16,
    height: u16,
    components: Vec<Component>,
}

/// What the marker segments say, up to the end of the image.
#[derive(Default)]
struct Header {
    frame: Option<Frame>,
    hierarchical: bool,
    jfif: bool,
    /// The colour transform of an Adobe segment.
    adobe: Option<u8>,
    /// Whether the end marker is there.
    ended: bool,
}

impl Header {
    /// Walks over the segments.
    ///
    /// They are skipped by their length, since metadata may contain a thumbnail JPEG. In
    /// entropy-coded data FF is followed by 00 or a restart marker unless a real marker begins.
    fn read(bytes: &[u8]) -> Header {
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
                    let Some(&[_, high, low]) = rest.first_chunk::<3>() else {
                        break;
                    };
                    let end = 1 + usize::from(u16::from_be_bytes([high, low]));
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

    fn segment(&mut self, marker: u8, segment: &[u8]) {
        match (marker, segment) {
            // Frame headers; C4, C8 and CC are other markers.
            (
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF,
                [precision, h0, h1, w0, w1, _, components @ ..],
            ) => {
                self.hierarchical |= self.frame.is_some();
                self.frame = Some(Frame {
                    marker,
                    precision: *precision,
                    height: u16::from_be_bytes([*h0, *h1]),
                    width: u16::from_be_bytes([*w0, *w1]),
                    components: components.chunks_exact(3).map(Component::read).collect(),
                });
            }
            (0xDA, [_, scan @ ..]) => {
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
        if !matches!(frame.components.len(), 1 | 3 | 4) {
            return refuse(&format!("{} components", frame.components.len()));
        }
        if frame.components.iter().any(|c| c.factors().contains(&0)) {
            return Err(damaged(ImageFormat::Jpeg, "a sampling factor is 0"));
        }
        let most = frame.most();
        for component in &frame.components {
            for (factor, most) in component.factors().into_iter().zip(most) {
                if most % factor != 0 {
                    return refuse(&format!("the sampling factors {factor} and {most}"));
                }
                // `jpeg-decoder` takes a scan of one component for as many blocks as an
                // interleaved scan has.
                if component.alone && factor > 1 && factor < most {
                    return refuse(&format!(
                        "the sampling factors {factor} and {most} in separate scans"
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
    fn most(&self) -> [u8; 2] {
        let largest = |a: [u8; 2], b: [u8; 2]| [a[0].max(b[0]), a[1].max(b[1])];
        self.components
            .iter()
            .map(Component::factors)
            .fold([1, 1], largest)
    }

    /// Samples of all components, each filled up to whole MCUs.
    fn samples(&self) -> u64 {
        let [horizontal, vertical] = self.most().map(u64::from);
        let columns = u64::from(self.width).div_ceil(8 * horizontal);
        let rows = u64::from(self.height).div_ceil(8 * vertical);
        let blocks = self.components.iter().map(Component::factors);
        let blocks: u64 = blocks.map(|[h, v]| u64::from(h) * u64::from(v)).sum();
        64 * blocks * columns * rows
    }
}

/// Planes of samples, two bytes for each coefficient on its way to the inverse transform, in
/// progressive files two bytes for each coefficient of all scans; then the pixels.
pub(super) fn needs(bytes: &[u8]) -> Result<Needs, DataError> {
    let header = Header::read(bytes);
    let frame = header.supported()?;
    if !header.ended {
        return Err(damaged(ImageFormat::Jpeg, "it is truncated"));
    }
    let progressive = frame.marker == 0xC2;
    let per_sample = if progressive { 5 } else { 3 };
    let pixels = u64::from(frame.width) * u64::from(frame.height);
    let metadata = bytes.len() as u64;
    Ok(Needs {
        width: frame.width.into(),
        height: frame.height.into(),
        memory: frame.samples() * per_sample + pixels * frame.components.len() as u64 + metadata,
    })
}

/// Decodes what [`needs`] accepts.
pub(super) fn pixels(bytes: &[u8]) -> Result<(RgbImage, Orientation), DataError> {
    let header = Header::read(bytes);
    let frame = header.supported()?;
    let mut decoder = Decoder::new(bytes);
    decoder.set_color_transform(header.transform(frame));
    let decoded = decoder.decode();
    let mut samples = decoded.map_err(|error| damaged(ImageFormat::Jpeg, error))?;
    let mut channels = frame.components.len();
    if channels == 4 {
        over_black_ink(&mut samples);
        channels = 3;
    }
    let exif = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let image = rgb_image(frame.width.into(), frame.height.into(), channels, samples);
    Ok((image, exif.unwrap_or(Orientation::NoTransforms)))
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
