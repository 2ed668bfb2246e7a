//! Crops and changes of colour against recordings (`tests/images/augment.py`), and what is drawn.

use serde_json::Value;

use super::*;

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    let values = value.as_array().unwrap().iter();
    let values: Vec<f64> = values.map(|value| value.as_f64().unwrap()).collect();
    values.try_into().unwrap()
}

/// Pixels of single precision against double. Of a resized pixel 8 products are rounded twice and
/// the weights once, of the colours 3, and the sums; no sum of absolute values exceeds 255 times
/// the cubes' 1.25² (1.5² beyond a border) and the changes' 1.4³. Six decimals are recorded.
#[test]
fn augmented_images_are_those_recorded() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/augmented.json");
    let cases: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let tolerance = 16.0 * f64::from(f32::EPSILON / 2.0) * 255.0 * 1.5f64.powi(2) * 1.4f64.powi(3);
    for case in cases.as_array().unwrap() {
        let side = |name: &str| case[name].as_u64().unwrap() as u32;
        let pixels = case["pixels"].as_array().unwrap().iter();
        let pixels = pixels.map(|byte| byte.as_u64().unwrap() as u8).collect();
        let image = RgbImage::from_raw(side("width"), side("height"), pixels).unwrap();
        let region = match &case["crop"] {
            Value::Null => Region::Centre,
            crop => {
                let [left, top, width, height] = numbers(crop).map(|number| number as u32);
                Region::Crop {
                    left,
                    top,
                    width,
                    height,
                }
            }
        };
        let changes = [0, 1, 2].map(|at| {
            let change = &case["jitter"][at];
            let weight = change[1].as_f64().unwrap();
            match change[0].as_str().unwrap() {
                "brightness" => Change::Brightness(weight),
                "contrast" => Change::Contrast(weight),
                _ => Change::Saturation(weight),
            }
        });
        let changes = ColourChanges::new(changes, numbers(&case["shares"]));
        let mut found = vec![0; 16 * 16 * 3 * 4];
        write(&image, 16, region, changes, &mut found);
        let expected: [f64; 768] = numbers(&case["augmented"]);
        for (at, (found, expected)) in found.as_chunks().0.iter().zip(expected).enumerate() {
            let found = f64::from(f32::from_le_bytes(*found));
            assert!(
                (found - expected).abs() <= tolerance,
                "{region:?}, value {at}: {found} for {expected}, tolerance {tolerance}"
            );
        }
    }
}

/// Up to 9/16 of an image of 4:3 every crop fits, so there the area is uniform, landscape is as
/// likely as portrait, the ratio of the sides or its inverse is uniform, and so is the offset.
#[test]
fn crops_have_the_areas_and_ratios_of_the_recipe() {
    let (mut count, mut areas, mut wide, mut offsets, mut largest) = (0.0, 0.0, 0.0, 0.0, 0.0f64);
    let mut ratios = 0.0;
    for sample in 0..20_000 {
        let key = EpochKey { seed: 3, epoch: 1 };
        let stream = &mut key.stream(Purpose::ImageNet, sample);
        let Region::Crop {
            left,
            top,
            width,
            height,
        } = Region::draw((4000, 3000), stream)
        else {
            panic!("so large an image has room for one of ten crops");
        };
        assert!(left + width <= 4000 && top + height <= 3000);
        let [w, h] = [width, height].map(f64::from);
        let area = w * h / 12e6;
        // Sides are rounded to whole pixels.
        assert!((0.0798..=1.0).contains(&area), "{area}");
        assert!((0.749..=1.335).contains(&(w / h)), "{w} x {h}");
        largest = largest.max(area);
        if area < 0.5625 {
            count += 1.0;
            areas += area;
            ratios += w / h;
            wide += f64::from(u8::from(width > height));
            offsets += f64::from(top) / f64::from(3000 - height);
        }
    }
    // Five standard errors each. Half a pixel of a side is 0.0002 of it.
    let deviation = (0.5625 - 0.08) / 12f64.sqrt();
    // The means of a uniform a, of 1/a, and of their squares, from 3/4 to 4/3.
    let (low, high) = (0.75f64, 4.0 / 3.0);
    let ratio = ((low + high) / 2.0 + (high / low).ln() / (high - low)) / 2.0;
    let square = ((high.powi(3) - low.powi(3)) / 3.0 / (high - low) + 1.0 / (low * high)) / 2.0;
    for (mean, expected, deviation) in [
        (areas / count, (0.08 + 0.5625) / 2.0, deviation),
        (wide / count, 0.5, 0.5),
        (ratios / count, ratio, (square - ratio * ratio).sqrt()),
        (offsets / count, 0.5, 1.0 / 12f64.sqrt()),
    ] {
        let tolerance = 5.0 * deviation / f64::sqrt(count) + 0.0002;
        assert!((mean - expected).abs() < tolerance, "{mean} for {expected}");
    }
    assert!(largest > 0.9, "{largest}");
}

/// A long image has no room for a crop of its area: the centre is taken.
#[test]
fn an_image_without_room_gives_its_centre() {
    let key = EpochKey { seed: 3, epoch: 1 };
    let image = RgbImage::from_fn(65_000, 4, |x, _| image::Rgb([(x / 300) as u8; 3]));
    let region = Region::draw(image.dimensions(), &mut key.stream(Purpose::ImageNet, 0));
    assert_eq!(region, Region::Centre);
    let mut pixels = Vec::new();
    region.write(&image, 8, |pixel| pixels.push(pixel));
    // The four weights of a row and of a column add up to one but for rounding.
    let error = pixels.as_flattened().iter().map(|x| (x - 108.0).abs());
    let error = error.fold(0.0, f32::max);
    assert!(
        pixels.len() == 64 && error <= 108.0 * 8.0 * f32::EPSILON,
        "{error}"
    );
    // One pixel is large enough for one.
    let region = Region::draw((1, 1), &mut key.stream(Purpose::ImageNet, 0));
    let mut pixels = Vec::new();
    region.write(&RgbImage::from_pixel(1, 1, image::Rgb([9, 8, 7])), 2, |p| {
        pixels.push(p)
    });
    assert_eq!(pixels, [[9.0, 8.0, 7.0]; 4]);
}

#[test]
fn an_image_is_a_function_of_seed_epoch_and_sample() {
    let image = RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, 77]));
    let draw = |seed, epoch, sample| {
        let mut out = vec![0; 8 * 8 * 3 * 4];
        augment(&image, 8, EpochKey { seed, epoch }, sample, &mut out);
        out
    };
    let first = draw(1, 1, 0);
    assert_eq!(draw(1, 1, 0), first);
    for other in [draw(2, 1, 0), draw(1, 2, 0), draw(1, 1, 1)] {
        assert_ne!(other, first);
    }
}
