//! The memory that decoding takes, counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{ColorType, DynamicImage, ImageFormat};
use png::chunk::{ChunkType, iCCP, iTXt, tEXt, zTXt};
use pyr_wgpu::data::{Resize, decode_image, decode_memory};

/// The system's allocator; counts the bytes in use and their maximum.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(used, Ordering::SeqCst);
        // SAFETY: the caller keeps the contract of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(used, Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that decoding an image takes at most, besides those of the file.
fn most(bytes: &[u8]) -> usize {
    let before = USED.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    decode_image(bytes, Resize::whole(8)).unwrap();
    MOST.load(Ordering::SeqCst) - before
}

/// An image of 1000 x 800 that no format compresses to nothing.
fn encoded(format: ImageFormat, color: ColorType) -> Vec<u8> {
    let mut image = DynamicImage::new(1000, 800, color);
    if let Some(image) = image.as_mut_rgb8() {
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            pixel.0 = [x as u8, y as u8, (x * y) as u8];
        }
    }
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG of one pixel with metadata before its pixels.
fn with_chunk(kind: ChunkType, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = png::Encoder::new(&mut bytes, 1, 1);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(kind, data).unwrap();
    writer.write_image_data(&[0]).unwrap();
    writer.finish().unwrap();
    bytes
}

// A single test, because everything that runs meanwhile is counted.
#[test]
fn a_decode_takes_the_memory_that_is_documented() {
    let corpus = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/corpus/");
        std::fs::read([folder, name].concat()).unwrap()
    };
    for (name, bytes, per_pixel) in [
        ("BMP", encoded(ImageFormat::Bmp, ColorType::Rgb8), 6),
        ("GIF", encoded(ImageFormat::Gif, ColorType::Rgb8), 7),
        ("PNG", encoded(ImageFormat::Png, ColorType::Rgb8), 7),
        ("grey PNG", encoded(ImageFormat::Png, ColorType::L8), 6),
        ("wide PNG", encoded(ImageFormat::Png, ColorType::Rgba16), 11),
        (
            "lossless WebP",
            encoded(ImageFormat::WebP, ColorType::Rgb8),
            12,
        ),
        ("JPEG", corpus("jpeg/large.jpg"), 15),
        ("progressive", corpus("jpeg/large-progressive.jpg"), 21),
    ] {
        // Tables, and whatever the test harness does meanwhile.
        let limit = per_pixel * 1000 * 800 + bytes.len() + (1 << 20);
        let found = most(&bytes);
        assert!(
            found > 3 * 1000 * 800,
            "{name}: the allocator counts nothing"
        );
        assert!(
            found <= limit,
            "{name}: {found} bytes, {limit} are documented"
        );
    }

    let list = String::from_utf8(corpus("list.tsv")).unwrap();
    let accepted = list.lines().filter(|line| !line.contains("refused: "));
    let mut large = 0;
    for line in accepted {
        let (path, _) = line.split_once('\t').unwrap();
        let bytes = corpus(path);
        let found = most(&bytes) as u64;
        let reserved = decode_memory(&bytes).unwrap();
        assert!(found <= reserved, "{path}: {found} bytes of {reserved}");
        // The others take less than the constant part, which is for the test harness as well.
        large += u32::from(found > 2 * 1000 * 800);
    }
    assert!(large >= 10, "only {large} large images");

    // 64 MiB of zeros in 64 KiB.
    let mut grey = Vec::new();
    let mut encoder = png::Encoder::new(&mut grey, 8192, 8192);
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; 8192 * 8192]).unwrap();
    writer.finish().unwrap();
    let start = grey.windows(4).position(|kind| kind == b"IDAT").unwrap() + 4;
    let bomb = &grey[start..grey.len() - 16];
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    // Text that is not compressed is part of the file, whose size is limited.
    let digits = [&b"Raw profile type exif\0"[..], &vec![b'0'; 1 << 20]].concat();
    for (kind, data) in [
        (tEXt, digits.clone()),
        (
            iTXt,
            [&b"Raw profile type exif\0\0\0\0\0"[..], &digits].concat(),
        ),
    ] {
        let bytes = with_chunk(kind, &data);
        let found = most(&bytes);
        assert!(
            found < 4 * bytes.len() + (2 << 20),
            "{kind:?} takes {found} bytes"
        );
    }
    for (kind, start) in [
        (iCCP, &b"x\0\0"[..]),
        (zTXt, b"x\0\0"),
        (zTXt, b"Raw profile type exif\0\0"),
        (iTXt, b"XML:com.adobe.xmp\0\x01\0\0\0"),
    ] {
        let bytes = with_chunk(kind, &[start, bomb].concat());
        let found = most(&bytes);
        assert!(found < 4 << 20, "{kind:?} takes {found} bytes");
    }
}
