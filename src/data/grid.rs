//! Images of one size side by side, as a PNG file.

use std::io::{self, Write};

use png::{BitDepth, ColorType, Encoder};

/// White pixels between two images.
const GAP: usize = 2;

/// Writes rows of images of N x N, each N·N·3 bytes R, G, B; what a row lacks stays white.
///
/// # Errors
/// If the writer fails, or there is no image.
///
/// ```
/// use pyr_wgpu::data::write_grid;
///
/// // A black and a red pixel in the first row, a blue one in the second.
/// let rows = [vec![0, 0, 0, 255, 0, 0], vec![0, 0, 255]];
/// let mut png = Vec::new();
/// write_grid(&mut png, 1, &rows).unwrap();
/// assert!(png.starts_with(b"\x89PNG"));
/// ```
pub fn write_grid(writer: impl Write, size: usize, rows: &[Vec<u8>]) -> io::Result<()> {
    let image = size * size * 3;
    let columns = rows.iter().map(|row| row.len() / image).max();
    let pixels = |images: usize| {
        let pixels = (images * (size + GAP)).saturating_sub(GAP);
        u32::try_from(pixels).map_err(io::Error::other)
    };
    let width = pixels(columns.unwrap_or(0))?;
    let mut encoder = Encoder::new(writer, width, pixels(rows.len())?);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    let mut encoder = encoder.write_header()?;
    let mut stream = encoder.stream_writer()?;
    let white = vec![255; width as usize * 3];
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            (0..GAP).try_for_each(|_| stream.write_all(&white))?;
        }
        for y in 0..size {
            let mut line = white.clone();
            let images = row.chunks_exact(image);
            for (image, line) in images.zip(line.chunks_mut((size + GAP) * 3)) {
                let pixels = &image[y * size * 3..(y + 1) * size * 3];
                line[..size * 3].copy_from_slice(pixels);
            }
            stream.write_all(&line)?;
        }
    }
    stream.finish()?;
    Ok(encoder.finish()?)
}
