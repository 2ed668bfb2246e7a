//! Every kind of image, encoded here or by another program (`tests/images`).

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::{GrayAlphaImage, GrayImage, ImageBuffer, Luma, LumaA, Rgb, Rgba, RgbaImage};

use super::*;

/// One pixel of a decoded square image.
fn pixel(image: &[u8], size: usize, x: usize, y: usize) -> [u8; 3] {
    let start = (y * size + x) * 3;
    image[start..start + 3].try_into().unwrap()
}

fn encode(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Decodes an image of a single colour and returns the colour.
fn plain(bytes: &[u8]) -> [u8; 3] {
    let image = decode_image(bytes, Resize::whole(4)).unwrap();
    assert!(image.chunks(3).all(|p| p == &image[..3]), "{image:?}");
    pixel(&image, 4, 0, 0)
}

fn error(bytes: &[u8]) -> String {
    decode_image(bytes, Resize::whole(4))
        .unwrap_err()
        .to_string()
}

fn close(found: [u8; 3], expected: [u8; 3], tolerance: u8) {
    let within = |(a, b): (&u8, &u8)| a.abs_diff(*b) <= tolerance;
    assert!(
        found.iter().zip(&expected).all(within),
        "{found:?} is not within {tolerance} of {expected:?}"
    );
}

#[test]
fn every_format_is_known_by_its_content() {
    let image = RgbImage::from_pixel(4, 4, Rgb([200, 100, 50]));
    for format in [
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::WebP,
    ] {
        assert_eq!(plain(&encode(image.clone(), format)), [200, 100, 50]);
    }
    // One step for the quantiser, one for each direction of the colour transform.
    let jpeg = encode(image, ImageFormat::Jpeg);
    close(plain(&jpeg), [200, 100, 50], 3);
}

#[test]
fn pixels_keep_their_places() {
    let image = RgbImage::from_fn(4, 4, |x, y| Rgb([x as u8, y as u8, 9]));
    let found = decode_image(&encode(image, ImageFormat::Png), Resize::whole(4)).unwrap();
    assert_eq!(pixel(&found, 4, 3, 1), [3, 1, 9]);
}

#[test]
fn grey_is_repeated() {
    let image = GrayImage::from_pixel(4, 4, Luma([77]));
    assert_eq!(plain(&encode(image.clone(), ImageFormat::Png)), [77; 3]);
    close(plain(&encode(image, ImageFormat::Jpeg)), [77; 3], 1);
}

#[test]
fn sixteen_bits_are_rounded_to_eight() {
    // 255·v/65535 is 128.25 (v = 32960), 1.0 (257) and 0.498 (128).
    let wide = ImageBuffer::from_pixel(4, 4, Rgb([32_960u16, 257, 128]));
    assert_eq!(plain(&encode(wide, ImageFormat::Png)), [128, 1, 0]);
    let grey = ImageBuffer::from_pixel(4, 4, Luma([65_535u16]));
    assert_eq!(plain(&encode(grey, ImageFormat::Png)), [255; 3]);
}

#[test]
fn transparency_is_laid_over_white() {
    for (colour, alpha, expected) in [
        ([10, 20, 30], 255, [10, 20, 30]),
        ([10, 20, 30], 0, [255; 3]),
        // 0.2·(10, 20, 30) + 0.8·255 = 206, 208, 210.
        ([10, 20, 30], 51, [206, 208, 210]),
    ] {
        let [red, green, blue] = colour;
        let image = RgbaImage::from_pixel(4, 4, Rgba([red, green, blue, alpha]));
        assert_eq!(plain(&encode(image, ImageFormat::Png)), expected);
    }
    let grey = GrayAlphaImage::from_pixel(4, 4, LumaA([100, 0]));
    assert_eq!(plain(&encode(grey, ImageFormat::Png)), [255; 3]);
    // A quarter of 16-bit grey 0 over white.
    let wide = ImageBuffer::from_pixel(4, 4, LumaA([0u16, 65_535 / 4]));
    close(plain(&encode(wide, ImageFormat::Png)), [191; 3], 1);
}

/// Pillow's colours for the four patches, as printed by `make_images.py`. The inks pass two
/// decoders whose cosine transforms may differ by one step (JPEG conformance), and each rounds
/// the products once: 2 for CMYK. YCCK multiplies a step of Cb by 1.772 before that: 3.
#[test]
fn inks_become_the_colours_that_pillow_gives() {
    let cmyk = include_bytes!("../../../tests/images/cmyk.jpg");
    let ycck = include_bytes!("../../../tests/images/ycck.jpg");
    let rgb = include_bytes!("../../../tests/images/stored-as-rgb.jpg");
    for (bytes, tolerance, expected) in [
        (
            &cmyk[..],
            2,
            [
                [255, 255, 255],
                [0, 255, 255],
                [172, 42, 103],
                [82, 107, 22],
            ],
        ),
        (
            &ycck[..],
            3,
            [[0, 134, 0], [77, 255, 30], [15, 8, 122], [103, 30, 0]],
        ),
        (
            &rgb[..],
            2,
            [[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 120, 40]],
        ),
    ] {
        let image = decode_image(bytes, Resize::whole(32)).unwrap();
        for (index, expected) in expected.into_iter().enumerate() {
            let (x, y) = (index % 2 * 16 + 8, index / 2 * 16 + 8);
            close(pixel(&image, 32, x, y), expected, tolerance);
        }
    }
}

/// Stored 48 x 32 with red at the top left, to be turned a quarter clockwise.
#[test]
fn the_camera_was_held_upright() {
    let bytes = include_bytes!("../../../tests/images/rotated.jpg");
    let (upright, _) = decode(bytes).unwrap();
    assert_eq!(upright.dimensions(), (32, 48));
    close(upright.get_pixel(28, 4).0, [220, 30, 20], 4);
    close(upright.get_pixel(4, 4).0, [20, 40, 220], 4);
    close(upright.get_pixel(28, 40).0, [20, 40, 220], 4);
}

/// EXIF data may stand before or behind the pixels of a PNG, and begin as in a JPEG.
#[test]
fn exif_data_is_found_wherever_it_stands() {
    let image = RgbImage::from_fn(2, 1, |x, _| Rgb([255 * x as u8, 0, 0]));
    let plain = encode(image.clone(), ImageFormat::Png);
    assert_eq!(decode(&plain).unwrap().0, image);
    // One field: orientation (0x112), a short, 3: to be turned by half.
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0";
    let (after_header, before_end) = (8 + 25, plain.len() - 12);
    for prefix in [&b""[..], b"Exif\0\0"] {
        let chunk = png::chunk(b"eXIf", &[prefix, exif].concat());
        for at in [after_header, before_end] {
            let mut bytes = plain.clone();
            bytes.splice(at..at, chunk.clone());
            let turned = decode(&bytes).unwrap().0;
            assert_eq!(turned.as_raw(), &[255, 0, 0, 0, 0, 0], "at {at}");
        }
    }
    // No value at all, though one stands where the field points to.
    let none = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\0\0\0\0\x0c\0\0\0\0\0\0\0";
    let mut bytes = plain;
    bytes.splice(before_end..before_end, png::chunk(b"eXIf", none));
    assert_eq!(decode(&bytes).unwrap().0, image);
}

/// The palette of six colours is as long as what the header of OS/2 2 has more than that of Windows.
#[test]
fn a_bmp_of_os2_with_six_colours_is_read() {
    let mut bytes = b"BM".to_vec();
    for word in [118u32, 0, 78, 64, 4, 4, 1 | 8 << 16, 0, 0, 0, 0, 6, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([0; 24]);
    for colour in 0..6u8 {
        bytes.extend([30 * colour, 20 * colour, 10 * colour, 0]);
    }
    bytes.extend([3; 16]);
    assert_eq!(plain(&bytes), [30, 60, 90]);
}

/// The offset of a BMP's pixels is checked: before the end of the header they would be the header.
#[test]
fn the_pixels_of_a_bmp_do_not_begin_in_its_header() {
    let good = encode(RgbImage::from_pixel(2, 2, Rgb([9, 8, 7])), ImageFormat::Bmp);
    assert_eq!(plain(&good), [9, 8, 7]);
    for start in [2u32, 14, 53] {
        let mut bytes = good.clone();
        bytes[10..14].copy_from_slice(&start.to_le_bytes());
        let error = error(&bytes);
        assert!(error.contains("within its header"), "{start}: {error}");
    }
}

#[test]
fn any_size_is_brought_to_the_networks_size() {
    let one = RgbImage::from_pixel(1, 1, Rgb([1, 2, 3]));
    assert_eq!(plain(&encode(one, ImageFormat::Png)), [1, 2, 3]);

    // A photograph: three stripes of which the square in the middle shows 1/8, 3/4, 1/8.
    let photograph = RgbImage::from_fn(4000, 3000, |x, _| match x {
        0..875 => Rgb([255, 0, 0]),
        875..3125 => Rgb([0, 255, 0]),
        _ => Rgb([0, 0, 255]),
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .encode_image(&photograph)
        .unwrap();
    let image = decode_image(&bytes, Resize::whole(32)).unwrap();
    for (x, expected) in [(1, [255, 0, 0]), (16, [0, 255, 0]), (30, [0, 0, 255])] {
        close(pixel(&image, 32, x, 16), expected, 3);
    }
}

#[test]
fn pixels_match_their_extents() {
    let fit = |width, height, bytes| fit_pixels(width, height, vec![9; bytes], Resize::whole(2));
    assert_eq!(fit(3, 1, 9).unwrap(), [9; 12]);
    for (width, height, bytes) in [
        (0, 0, 0),
        (0, 5, 6),
        (1, 1, 6),
        (2, 1, 3),
        (u32::MAX, u32::MAX, 3),
    ] {
        let error = fit(width, height, bytes).unwrap_err().to_string();
        let expected = format!("{bytes} bytes are not an image of {width} x {height} pixels");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn what_is_no_image_is_refused() {
    assert_eq!(error(b""), "the file is empty; copy or download it again");
    let no_image = "not an image in JPEG, PNG, GIF, BMP or WebP format";
    let text = error(b"Dear diary, today I trained a network.\n");
    assert_eq!(text, format!("{no_image}; convert or remove it"));
    // Recognised, but not supported.
    for (start, format) in [
        (&b"II*\0\x08\0\0\0\0\0\0\0\0\0\0\0"[..], "TIFF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS\0\x01", "Photoshop"),
    ] {
        assert_eq!(
            error(start),
            format!("{no_image} but in {format}; convert it")
        );
    }
}

#[test]
fn an_image_that_breaks_off_is_refused() {
    let image = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, x as u8, y as u8]));
    for format in [
        ImageFormat::Jpeg,
        ImageFormat::Png,
        ImageFormat::Bmp,
        ImageFormat::Gif,
        ImageFormat::WebP,
    ] {
        let whole = encode(image.clone(), format);
        assert!(decode(&whole).is_ok());
        for kept in [whole.len() / 50 + 16, whole.len() / 2, whole.len() - 50] {
            let message = error(&whole[..kept]);
            let expected = format!("damaged {} image: ", name(format).unwrap());
            assert!(message.starts_with(&expected), "{message}");
        }
    }
}

/// In a small container the limit is half of what is available.
#[test]
fn decodes_take_at_most_half_of_the_memory() {
    assert_eq!(limit(None), DECODE_MEMORY);
    assert_eq!(limit(Some(u64::MAX)), DECODE_MEMORY);
    assert_eq!(limit(Some(512 << 20)), 256 << 20);
}

/// Headers that claim more than fits the memory of all decodes are refused before anything is
/// allocated.
#[test]
fn an_image_too_large_for_memory_is_refused() {
    let mut bmp = encode(RgbImage::new(1, 1), ImageFormat::Bmp);
    bmp[18..22].copy_from_slice(&60_000u32.to_le_bytes());
    bmp[22..26].copy_from_slice(&60_000u32.to_le_bytes());
    let mut png = encode(RgbImage::new(1, 1), ImageFormat::Png);
    png[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    // The check sum of a header of 60,000 x 60,000 pixels of 24 bits.
    png[29..33].copy_from_slice(&0x0FB0_E215u32.to_be_bytes());
    // A canvas of one pixel, a frame of 60,000 x 60,000.
    let gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF,\0\0\0\0\x60\xEA\x60\xEA\0\x02\x01\0;";
    let jpeg = b"\xFF\xD8\xFF\xC2\0\x0B\x08\xEA\x60\xEA\x60\x01\x01\x11\0\
        \xFF\xDA\0\x08\x01\x01\0\0\0\0\xFF\xD9";
    for bytes in [&bmp[..], &png, gif, jpeg] {
        let expected = "60000 x 60000 is too large to decode: it may take ";
        assert!(error(bytes).contains(expected), "{}", error(bytes));
    }
    // A still image in a canvas of one pixel; an animation of 16,384 x 16,384.
    let vp8 = b"VP8 \x1A\0\0\0\x10\0\0\x9D\x01\x2A\xFF\x3F\xFF\x3F0123456789ABCDEF";
    let still = [
        b"RIFF\xFF\0\0\0WEBPVP8X\x0A\0\0\0\x10\0\0\0\0\0\0\0\0\0ALPH\x01\0\0\0\0\0",
        &vp8[..],
    ];
    let animation: [&[u8]; 2] = [
        b"RIFF\xFF\0\0\0WEBPVP8X\x0A\0\0\0\x02\0\0\0\xFF\x3F\0\xFF\x3F\0ANIM\x06\0\0\0\0\0\0\0\0\0\
        ANMF\x32\0\0\0\0\0\0\0\0\0\xFF\x3F\0\xFF\x3F\0\0\0\0\0",
        vp8,
    ];
    for bytes in [still.concat(), animation.concat()] {
        assert!(
            error(&bytes).contains("is too large to decode"),
            "{}",
            error(&bytes)
        );
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod files {
    use std::fs::{self, File};

    use super::*;

    fn error(path: &std::path::Path) -> String {
        let error = decode_image_file(path, Resize::whole(4)).unwrap_err();
        let start = read_start(path).and_then(|start| sniff(&start));
        let start = start.map_err(|error| error.to_string());
        let refused_at_once = !matches!(error, DataError::FileTooLarge { .. });
        assert!(!refused_at_once || start == Err(error.to_string()));
        error.to_string()
    }

    #[test]
    fn only_regular_files_of_a_limited_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let missing = error(&path("missing.png"));
        assert!(missing.starts_with("cannot be read: "), "{missing}");
        assert_eq!(
            error(folder.path()),
            "it is a folder, not a file; give an image file"
        );

        // Sparse: 4 GiB that take no space.
        let large = File::create(path("large.png")).unwrap();
        large.set_len(4 << 30).unwrap();
        let expected = "4294967296 bytes are too large for an image file, the limit is 268435456; \
            make it smaller";
        let found = decode_image_file(&path("large.png"), Resize::whole(4)).unwrap_err();
        assert_eq!(found.to_string(), expected);

        let image = RgbImage::from_pixel(4, 4, Rgb([1, 2, 3]));
        fs::write(path("image.png"), encode(image, ImageFormat::Png)).unwrap();
        let pixels = [1, 2, 3].repeat(16);
        #[cfg(unix)]
        {
            let expected = "it is a pipe, socket or device, not a file; give an image file";
            let made = std::process::Command::new("mkfifo")
                .arg(path("pipe"))
                .status();
            assert!(made.unwrap().success());
            let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
            std::os::unix::fs::symlink("/dev/zero", path("link")).unwrap();
            for name in ["pipe", "socket", "link"] {
                assert_eq!(error(&path(name)), expected);
            }
            std::os::unix::fs::symlink("image.png", path("good")).unwrap();
            let found = decode_image_file(&path("good"), Resize::whole(4));
            assert_eq!(found.unwrap(), pixels);
        }
        let found = decode_image_file(&path("image.png"), Resize::whole(4));
        assert_eq!(found.unwrap(), pixels);
    }
}

/// Rows are counted in 16 bits, eight at a time: beyond 65,528 of them a decoder may fail.
#[test]
fn a_jpeg_of_too_many_rows_is_refused() {
    let mut jpeg = encode(GrayImage::new(8, 8), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|two| two == [0xFF, 0xC0]).unwrap();
    for rows in [65_501u16, 65_535] {
        jpeg[frame + 5..frame + 7].copy_from_slice(&rows.to_be_bytes());
        assert!(error(&jpeg).contains("65500 pixels"), "{}", error(&jpeg));
    }
}
