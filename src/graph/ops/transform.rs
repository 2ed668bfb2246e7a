//! A change of one image of bytes, as the policies of automatic augmentation draw it, and as words
//! of an operand.
//!
//! All are computed in integers, so that every device computes the same bytes. They are those of
//! Pillow's `Image` and `ImageOps`, to which AutoAugment (Cubuk et al., CVPR 2019) and its
//! successors refer, except that blends and stretched contrasts may differ by one where the exact
//! result is a whole number or close to one: Pillow computes them in floating point and cuts them
//! off.

/// Colours of a pixel.
const COLOURS: usize = 3;

/// Fractional bits of the coefficients of [`Transform::Affine`], as in Pillow.
const AFFINE_BITS: u32 = 16;

/// Fractional bits of the factors of [`Transform::Blend`].
const BLEND_BITS: u32 = 20;

/// Largest height and width of an image, with which neither coordinates nor sums of pixels overflow.
pub const TRANSFORM_SIZE: usize = 2048;

/// Words of a [`Transform`].
pub const TRANSFORM_WORDS: usize = 7;

/// A change of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transform {
    /// None.
    #[default]
    Identity,
    /// Pixel (x, y) is the one at (a·x + b·y + c, d·x + e·y + f), rounded down, or black outside;
    /// coefficients a to f in units of 2⁻¹⁶.
    Affine([i32; 6]),
    /// base + factor · (image − base), cut off to whole numbers and clamped to bytes; the factor
    /// in units of 2⁻²⁰.
    Blend(Base, i32),
    /// Keeps the bits of a mask.
    Posterize(u32),
    /// Inverts bytes from a threshold on.
    Solarize(u32),
    /// Stretches each colour to 0..=255.
    AutoContrast,
    /// Makes the histogram of each colour uniform.
    Equalize,
}

/// What [`Transform::Blend`] starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Black: the factor is a brightness.
    Black,
    /// The grey pixel: a saturation.
    Grey,
    /// The mean of the grey image: a contrast.
    MeanGrey,
    /// The image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13, with the same border: a sharpness.
    Smooth,
}

impl Base {
    /// In the order of their words.
    const ALL: [Base; 4] = [Base::Black, Base::Grey, Base::MeanGrey, Base::Smooth];
}

impl Transform {
    /// The affine map from a pixel to the one it shows, both by the positions of their centres.
    fn affine(matrix: [f64; 6]) -> Transform {
        let [a, b, c, d, e, f] = matrix;
        let fixed = |value: f64| (value * f64::from(1 << AFFINE_BITS) + 0.5).floor() as i32;
        let centred = [a, b, c + (a + b) / 2.0, d, e, f + (d + e) / 2.0];
        Transform::Affine(centred.map(fixed))
    }

    /// Shears along rows: x + factor · y, so that the upper left corner stays.
    pub fn shear_x(factor: f64) -> Transform {
        Transform::affine([1.0, factor, 0.0, 0.0, 1.0, 0.0])
    }

    /// Shears along columns: y + factor · x.
    pub fn shear_y(factor: f64) -> Transform {
        Transform::affine([1.0, 0.0, 0.0, factor, 1.0, 0.0])
    }

    /// Moves the image to the right and down by whole pixels.
    pub fn translate(right: i32, down: i32) -> Transform {
        Transform::affine([1.0, 0.0, -f64::from(right), 0.0, 1.0, -f64::from(down)])
    }

    /// Turns an image of `size` x `size` around its centre, counter-clockwise by `degrees`.
    pub fn rotate(degrees: f64, size: usize) -> Transform {
        let angle = -degrees.to_radians();
        let [sine, cosine] = [libm::sin(angle), libm::cos(angle)];
        let centre = size as f64 / 2.0;
        let shift_x = centre - centre * (cosine + sine);
        let shift_y = centre - centre * (cosine - sine);
        Transform::affine([cosine, sine, shift_x, -sine, cosine, shift_y])
    }

    /// Moves colours away from `base` by a factor above 1, or towards it by one below.
    ///
    /// # Panics
    /// If the factor is not in 0..=2.
    pub fn blend(base: Base, factor: f64) -> Transform {
        assert!((0.0..=2.0).contains(&factor), "factor {factor}");
        Transform::Blend(base, (factor * f64::from(1 << BLEND_BITS)).round() as i32)
    }

    /// Keeps the upper `bits` of each byte.
    ///
    /// # Panics
    /// If there are more than 8.
    pub fn posterize(bits: u32) -> Transform {
        assert!(bits <= 8, "{bits} bits");
        Transform::Posterize(0xff & !(0xff >> bits))
    }

    /// Inverts bytes that are at least `threshold`.
    pub fn solarize(threshold: f64) -> Transform {
        Transform::Solarize(threshold.clamp(0.0, 256.0).ceil() as u32)
    }

    /// The negative.
    pub fn invert() -> Transform {
        Transform::Solarize(0)
    }

    /// The kind, then its parameters.
    pub fn to_words(self) -> [u32; TRANSFORM_WORDS] {
        let (kind, parameters) = match self {
            Transform::Identity => (0, [0; 6]),
            Transform::Affine(coefficients) => (1, coefficients.map(|value| value as u32)),
            Transform::Blend(base, factor) => (2 + base as u32, [factor as u32, 0, 0, 0, 0, 0]),
            Transform::Posterize(mask) => (6, [mask, 0, 0, 0, 0, 0]),
            Transform::Solarize(threshold) => (7, [threshold, 0, 0, 0, 0, 0]),
            Transform::AutoContrast => (8, [0; 6]),
            Transform::Equalize => (9, [0; 6]),
        };
        let [a, b, c, d, e, f] = parameters;
        [kind, a, b, c, d, e, f]
    }

    /// The inverse of [`Transform::to_words`].
    ///
    /// # Panics
    /// If the words are not those of a transform.
    pub fn from_words(words: &[u32]) -> Transform {
        let parameter = words[1];
        match words[0] {
            0 => Transform::Identity,
            1 => Transform::Affine([1, 2, 3, 4, 5, 6].map(|at| words[at] as i32)),
            kind @ 2..=5 => Transform::Blend(Base::ALL[kind as usize - 2], parameter as i32),
            6 => Transform::Posterize(parameter),
            7 => Transform::Solarize(parameter),
            8 => Transform::AutoContrast,
            9 => Transform::Equalize,
            kind => panic!("no transform has the kind {kind}"),
        }
    }

    /// Writes the changed image to `y`. Both have the bytes of `size` x `size` pixels, H W RGB.
    ///
    /// # Panics
    /// If they do not.
    pub fn apply(self, x: &[u8], y: &mut [u8], size: usize) {
        assert_eq!([x.len(), y.len()], [COLOURS * size * size; 2]);
        match self {
            Transform::Identity => y.copy_from_slice(x),
            Transform::Affine(coefficients) => affine(coefficients, x, y, size),
            Transform::Blend(base, factor) => blend(base, factor, x, y, size),
            Transform::Posterize(mask) => each(x, y, |_, value| value & mask as u8),
            Transform::Solarize(threshold) => {
                let invert = |value| u32::from(value) >= threshold;
                each(
                    x,
                    y,
                    |_, value| if invert(value) { 255 - value } else { value },
                );
            }
            Transform::AutoContrast => look_up(x, y, stretched),
            Transform::Equalize => look_up(x, y, equalized),
        }
    }
}

/// Computes each byte from its colour and its value.
fn each(x: &[u8], y: &mut [u8], byte: impl Fn(usize, u8) -> u8) {
    for (at, (x, y)) in x.iter().zip(y).enumerate() {
        *y = byte(at % COLOURS, *x);
    }
}

fn affine([a, b, c, d, e, f]: [i32; 6], x: &[u8], y: &mut [u8], size: usize) {
    for (pixel, to) in y.chunks_exact_mut(COLOURS).enumerate() {
        let [row, column] = [pixel / size, pixel % size].map(|at| at as i32);
        let source = |a: i32, b: i32, c: i32| (a * column + b * row + c) >> AFFINE_BITS;
        // A negative coordinate is a large one.
        let [column, row] = [source(a, b, c), source(d, e, f)].map(|at| at as u32 as usize);
        match column < size && row < size {
            true => to.copy_from_slice(&x[COLOURS * (row * size + column)..][..COLOURS]),
            false => to.fill(0),
        }
    }
}

/// Luma of ITU-R BT.601, rounded to nearest.
fn grey(pixel: &[u8]) -> u32 {
    let [red, green, blue] = [0, 1, 2].map(|colour| u32::from(pixel[colour]));
    (19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16
}

fn blend(base: Base, factor: i32, x: &[u8], y: &mut [u8], size: usize) {
    let mean = match base {
        Base::MeanGrey => {
            let sum: u32 = x.chunks_exact(COLOURS).map(grey).sum();
            let pixels = (size * size) as u32;
            (2 * sum + pixels) / (2 * pixels)
        }
        _ => 0,
    };
    for (at, to) in y.iter_mut().enumerate() {
        let pixel = at / COLOURS;
        let base = match base {
            Base::Black | Base::MeanGrey => mean,
            Base::Grey => grey(&x[COLOURS * pixel..][..COLOURS]),
            Base::Smooth => smooth(x, at, size),
        } as i32;
        let mixed = (base << BLEND_BITS) + factor * (i32::from(x[at]) - base);
        *to = (mixed >> BLEND_BITS).clamp(0, 255) as u8;
    }
}

/// The byte at `at` of the smoothed image.
fn smooth(x: &[u8], at: usize, size: usize) -> u32 {
    let pixel = at / COLOURS;
    let inside = |at: usize| at > 0 && at + 1 < size;
    if !inside(pixel / size) || !inside(pixel % size) {
        return x[at].into();
    }
    let around = [-1, 0, 1].map(|row: isize| {
        let middle = at.wrapping_add_signed(row * (COLOURS * size) as isize);
        let row = [middle - COLOURS, middle, middle + COLOURS];
        row.map(|at| u32::from(x[at])).iter().sum::<u32>()
    });
    (around.iter().sum::<u32>() + 4 * u32::from(x[at]) + 6) / 13
}

/// Replaces each byte by the entry of a table that is made from the histogram of its colour.
fn look_up(x: &[u8], y: &mut [u8], table: fn(&[u32; 256]) -> [u8; 256]) {
    let mut counts = [[0; 256]; COLOURS];
    for (at, value) in x.iter().enumerate() {
        counts[at % COLOURS][usize::from(*value)] += 1;
    }
    let tables = counts.map(|counts| table(&counts));
    each(x, y, |colour, value| tables[colour][usize::from(value)]);
}

fn stretched(counts: &[u32; 256]) -> [u8; 256] {
    let first = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let last = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    std::array::from_fn(|value| match last > first {
        true => (value.clamp(first, last).saturating_sub(first) * 255 / (last - first)) as u8,
        false => value as u8,
    })
}

fn equalized(counts: &[u32; 256]) -> [u8; 256] {
    let last = counts.iter().rev().find(|count| **count > 0);
    let step = (counts.iter().sum::<u32>() - last.unwrap_or(&0)) / 255;
    let mut before = step / 2;
    std::array::from_fn(|value| {
        let level = before.checked_div(step).unwrap_or(value as u32);
        before += counts[value];
        level.min(255) as u8
    })
}
