//! Which files are images: by extension, or by the first bytes.
//!
//! A folder also holds thumbnails, tables and notes. A file counts as an image if its name has
//! the extension of an image format, or if its content begins like one; the formats that are not
//! read are among them, because their files are meant to be used and must not go unnoticed.

use std::path::Path;

use image::ImageFormat;

use super::DataError;
use super::decode::sniff;

/// Extensions of image formats, in lower case: first those that are read, then others.
const EXTENSIONS: [&str; 42] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "apng", "gif", "bmp", "dib", "webp", //
    "tif", "tiff", "heic", "heif", "hif", "avif", "jxl", "jp2", "j2k", "jpx", "svg", "svgz", "psd",
    "ppm", "pgm", "pbm", "pnm", "tga", "exr", "hdr", "qoi", "dds", "pcx", "dcm", "dng", "cr2",
    "cr3", "nef", "arw", "orf", "rw2", "raf",
];

/// Whether a file's name has the extension of an image format.
pub fn is_named_as_image(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    let lower = extension.map(str::to_ascii_lowercase);
    lower.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// Whether a file without such an extension begins like an image.
pub(super) fn begins_like_an_image(start: &[u8]) -> bool {
    match sniff(start) {
        // A text may begin with BM; four reserved bytes of a BMP are zero.
        Ok(ImageFormat::Bmp) => start.get(6..10) == Some(&[0; 4]),
        Ok(_) | Err(DataError::UnreadFormat { .. }) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_first_bytes_tell_images_from_other_files() {
        for name in ["a.jpg", "a.b.JPEG", "a.Png", "a.tif", "a.heic", "a.webp"] {
            assert!(is_named_as_image(Path::new(name)), "{name}");
        }
        for name in [
            "Thumbs.db",
            "desktop.ini",
            "jpg",
            "a.jpg.txt",
            "a.",
            "a.csv",
        ] {
            assert!(!is_named_as_image(Path::new(name)), "{name}");
        }
        for start in [
            &b"\xff\xd8\xff\xe0"[..],
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0",
            b"RIFF\0\0\0\0WEBP",
            b"II*\0",
            b"\0\0\0\x18ftypheic",
        ] {
            assert!(begins_like_an_image(start), "{start:?}");
        }
        for start in [
            &b""[..],
            b"BMW is a make of cars",
            b"P1,0.5,cat",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
            b"\0\0\0\x18ftypmp42",
            b"<annotation>",
        ] {
            assert!(!begins_like_an_image(start), "{start:?}");
        }
    }
}
