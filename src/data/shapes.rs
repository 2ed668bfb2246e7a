//! `shapes`: the embedded dataset, drawn by the program.
//!
//! Ten classes of figures on textured backgrounds, 32 x 32 pixels in colour: 8,000 images for
//! training, 2,000 for testing; image i has class i mod 10.
//! Position, size, angle, stretch, colours, textures, noise, distracting spots and a bar across
//! the figure vary, so that single pixels carry little information about the class; tilting or
//! mirroring never changes it.
//!
//! Each image depends only on its part and index, and on no function of the platform's
//! mathematics library, so that native and wasm builds draw the same bytes.

use std::sync::LazyLock;

use rayon::prelude::*;

use super::images::{Images, blank_images};
use super::resize::image_bytes;
use super::{DataError, Dataset, Resize};
use crate::rng::{Purpose, Stream};

/// Names of the classes.
pub const CLASSES: [&str; 10] = [
    "disc", "ring", "square", "triangle", "star", "cross", "crescent", "heart", "arrow", "pair",
];

/// Rows and columns.
pub const SIZE: u32 = 32;
/// Images for training.
pub const TRAIN: u32 = 8000;
/// Images for testing.
pub const TEST: u32 = 2000;

/// Mean of red, green and blue over the training images, 0..255.
pub const MEAN: [f32; 3] = [93.5, 93.2, 93.2];
/// Standard deviation of red, green and blue over the training images, 0..255.
pub const STD: [f32; 3] = [61.3, 61.0, 60.9];

/// Samples along one side of a pixel.
const SAMPLES: usize = 3;

/// Samples along one side of an image.
const STEPS: usize = SAMPLES * SIZE as usize;

/// Their coordinates, from -1 to 1.
static COORDINATES: [f64; STEPS] = {
    let mut coordinates = [0.0; STEPS];
    let mut step = 0;
    while step < STEPS {
        coordinates[step] = (2 * step + 1) as f64 / STEPS as f64 - 1.0;
        step += 1;
    }
    coordinates
};

/// Range of the channels of backgrounds and bars.
const DARK: [f64; 2] = [0.0, 0.55];

/// Range of the channels of figures and spots.
const LIGHT: [f64; 2] = [0.45, 1.0];

/// Largest angle by which a figure is turned, radians.
const MAX_TILT: f64 = 0.4;

/// Seed of all images; another seed gives another dataset.
const SEED: u64 = 0x5348_4150_4553;

/// A part of the dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// For training.
    Train,
    /// For testing.
    Test,
}

type Colour = [f64; 3];

/// Draws the dataset at its own size and resizes it, natively or in the browser.
///
/// ```
/// use pyr_wgpu::data::{Resize, shapes};
///
/// let dataset = shapes::open(Resize::whole(32), false).unwrap();
/// let mut image = vec![0; 32 * 32 * 3];
/// dataset.test.read(0, None, &mut image).unwrap();
/// assert!(dataset.test.label(0) < dataset.classes.len() as u32);
/// ```
///
/// # Errors
/// [`DataError::Memory`] if the memory does not hold the images.
pub fn open(resize: Resize, need_train: bool) -> Result<Dataset, DataError> {
    let part = |part, count| Ok(draw_all(part, count)?.resized(resize));
    Ok(Dataset {
        classes: CLASSES.map(String::from).to_vec(),
        mean: MEAN,
        std: STD,
        train: need_train.then(|| part(Part::Train, TRAIN)).transpose()?,
        test: part(Part::Test, TEST)?,
        folders: Vec::new(),
        notes: Vec::new(),
    })
}

/// Draws the first `count` images of a part.
fn draw_all(part: Part, count: u32) -> Result<Images, DataError> {
    let length = image_bytes(SIZE);
    let mut bytes = blank_images(count as usize, Resize::whole(SIZE))?;
    let images = bytes.par_chunks_exact_mut(length).zip(0..count);
    let labels = images.map(|(image, index)| {
        let (pixels, class) = draw(part, index);
        image.copy_from_slice(&pixels);
        class
    });
    let labels = labels.collect();
    Ok(Images::new(SIZE, bytes, labels))
}

/// Draws an image; returns its 32·32·3 bytes, rows of RGB, and its class.
pub fn draw(part: Part, index: u32) -> (Vec<u8>, u32) {
    let class = index % CLASSES.len() as u32;
    let mut stream = Stream::new(SEED, Purpose::Shapes, index, part as u32);
    let scene = Scene::new(class as usize, &mut stream);
    let size = SIZE as usize;
    let mut bytes = Vec::with_capacity(size * size * 3);
    for row in 0..size {
        for column in 0..size {
            let colour = scene.pixel(column, row);
            for channel in colour {
                let noise = scene.noise * (stream.uniform_f64() - 0.5);
                bytes.push((255.0 * (channel + noise).clamp(0.0, 1.0) + 0.5) as u8);
            }
        }
    }
    (bytes, class)
}

/// Everything random about an image except its noise.
struct Scene {
    class: usize,
    figure: Paint,
    ground: Paint,
    /// From the image's coordinates (-1..1) to the figure's.
    frame: Frame,
    spots: Vec<(Frame, Colour)>,
    bar: Option<(Frame, Colour)>,
    noise: f64,
}

/// A gradient between two colours, with stripes.
struct Paint {
    from: Colour,
    to: Colour,
    direction: [f64; 2],
    stripes: f64,
    frequency: f64,
    phase: f64,
}

/// Position, angle and size along two axes.
struct Frame {
    centre: [f64; 2],
    cos: f64,
    sin: f64,
    scale: [f64; 2],
}

impl Scene {
    fn new(class: usize, stream: &mut Stream) -> Scene {
        let ground = Paint::new(stream, DARK);
        let figure = Paint::new(stream, LIGHT);
        let radius = between(stream, 0.55, 0.85);
        let room = 1.0 - 0.92 * radius;
        let centre = [between(stream, -room, room), between(stream, -room, room)];
        let stretch = between(stream, 0.86, 1.16);
        let tilt = between(stream, -MAX_TILT, MAX_TILT);
        let frame = Frame::new(tilt, centre, [radius * stretch, radius / stretch]);
        let spots = (0..stream.below(4)).map(|_| {
            let centre = [between(stream, -1.0, 1.0), between(stream, -1.0, 1.0)];
            let radius = between(stream, 0.06, 0.14);
            (Frame::new(0.0, centre, [radius; 2]), colour(stream, LIGHT))
        });
        let spots = spots.collect();
        let bar = (stream.below(4) == 0).then(|| {
            let along = between(stream, -0.5, 0.5) * radius;
            let centre = [centre[0] + along, centre[1] - along];
            let width = between(stream, 0.05, 0.1);
            let angle = between(stream, 0.0, std::f64::consts::TAU);
            (
                Frame::new(angle, centre, [3.0, width]),
                colour(stream, DARK),
            )
        });
        Scene {
            class,
            figure,
            ground,
            frame,
            spots,
            bar,
            noise: between(stream, 0.02, 0.12),
        }
    }

    /// Mean colour of a pixel's samples.
    fn pixel(&self, column: usize, row: usize) -> Colour {
        let mut sum = [0.0; 3];
        for sample in 0..SAMPLES * SAMPLES {
            let point = [
                COORDINATES[column * SAMPLES + sample % SAMPLES],
                COORDINATES[row * SAMPLES + sample / SAMPLES],
            ];
            let colour = self.colour_at(point);
            sum = [0, 1, 2].map(|c| sum[c] + colour[c] / (SAMPLES * SAMPLES) as f64);
        }
        sum
    }

    fn colour_at(&self, point: [f64; 2]) -> Colour {
        if let Some((frame, colour)) = &self.bar {
            let [x, y] = frame.local(point);
            if x.abs() <= 1.0 && y.abs() <= 1.0 {
                return *colour;
            }
        }
        if inside(self.class, self.frame.local(point)) {
            return self.figure.at(point);
        }
        for (frame, colour) in &self.spots {
            let [x, y] = frame.local(point);
            if x * x + y * y <= 1.0 {
                return *colour;
            }
        }
        self.ground.at(point)
    }
}

impl Paint {
    fn new(stream: &mut Stream, tones: [f64; 2]) -> Paint {
        let from = colour(stream, tones);
        let mut to = from;
        for channel in &mut to {
            *channel = (*channel + between(stream, -0.25, 0.25)).clamp(0.0, 1.0);
        }
        let angle = between(stream, 0.0, std::f64::consts::TAU);
        Paint {
            from,
            to,
            direction: [libm::cos(angle), libm::sin(angle)],
            stripes: between(stream, 0.0, 0.12),
            frequency: between(stream, 2.0, 9.0),
            phase: between(stream, 0.0, std::f64::consts::TAU),
        }
    }

    fn at(&self, [x, y]: [f64; 2]) -> Colour {
        let along = self.direction[0] * x + self.direction[1] * y;
        let share = (0.5 + 0.35 * along).clamp(0.0, 1.0);
        let stripe = self.stripes * libm::sin(self.frequency * along + self.phase);
        [0, 1, 2].map(|c| self.from[c] + share * (self.to[c] - self.from[c]) + stripe)
    }
}

impl Frame {
    fn new(angle: f64, centre: [f64; 2], scale: [f64; 2]) -> Frame {
        Frame {
            centre,
            cos: libm::cos(angle),
            sin: libm::sin(angle),
            scale,
        }
    }

    fn local(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let (x, y) = (x - self.centre[0], y - self.centre[1]);
        [
            (self.cos * x + self.sin * y) / self.scale[0],
            (self.cos * y - self.sin * x) / self.scale[1],
        ]
    }
}

fn between(stream: &mut Stream, low: f64, high: f64) -> f64 {
    low + (high - low) * stream.uniform_f64()
}

fn colour(stream: &mut Stream, [low, high]: [f64; 2]) -> Colour {
    [0; 3].map(|_| between(stream, low, high))
}

/// Whether a point of the unit square lies in the figure of a class.
fn inside(class: usize, [x, y]: [f64; 2]) -> bool {
    let square = x * x + y * y;
    match CLASSES[class] {
        "disc" => square <= 0.64,
        "ring" => (0.25..=0.81).contains(&square),
        "square" => x.abs() <= 0.7 && y.abs() <= 0.7,
        "triangle" => y <= 0.55 && -y <= 0.95 - 1.732 * x.abs(),
        "star" => star([x, y]),
        "cross" => (x.abs() <= 0.26 && y.abs() <= 0.9) || (y.abs() <= 0.26 && x.abs() <= 0.9),
        "crescent" => {
            let (dx, dy) = (x - 0.42, y);
            square <= 0.81 && dx * dx + dy * dy >= 0.49
        }
        "heart" => heart([x, -y]),
        "arrow" => {
            let head = y <= -0.1 && -y <= 0.95 - 1.1 * x.abs();
            head || (x.abs() <= 0.2 && (-0.1..=0.9).contains(&y))
        }
        _ => {
            let (dx, dy) = (x.abs() - 0.55, y);
            dx * dx + dy * dy <= 0.16
        }
    }
}

/// Directions of the sides of the pentagon inside a star.
static SIDES: LazyLock<[[f64; 2]; 5]> = LazyLock::new(|| {
    [0.0, 1.0, 2.0, 3.0, 4.0].map(|side| {
        let angle = std::f64::consts::TAU * (side / 5.0 + 0.25);
        [libm::cos(angle), libm::sin(angle)]
    })
});

/// A five-pointed star: the points inside at least four of the five half-planes of its inner
/// pentagon.
fn star([x, y]: [f64; 2]) -> bool {
    let outside = |[cos, sin]: &&[f64; 2]| cos * x + sin * y < -0.36;
    SIDES.iter().filter(outside).count() <= 1 && x * x + y * y <= 1.4
}

/// The sextic (x² + y² − 1)³ ≤ x² y³, scaled to the unit square.
fn heart([x, y]: [f64; 2]) -> bool {
    let (x, y) = (1.35 * x, 1.35 * y + 0.1);
    let a = x * x + y * y - 1.0;
    a * a * a <= x * x * y * y * y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_opened_in_the_order_they_are_drawn() {
        let dataset = open(Resize::whole(SIZE), false).unwrap();
        assert!(dataset.train.is_none());
        assert_eq!(dataset.test.len(), TEST as usize);
        let mut found = vec![0; image_bytes(SIZE)];
        for index in [0, 1, 777, TEST - 1] {
            let (image, label) = draw(Part::Test, index);
            let position = index as usize;
            dataset.test.read(position, None, &mut found).unwrap();
            assert!(found == image && dataset.test.label(position) == label);
        }
    }

    /// The same bytes on every platform: FNV-1a over every seventh image of both parts.
    #[test]
    fn the_images_never_change() {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for (part, count) in [(Part::Train, TRAIN), (Part::Test, TEST)] {
            for index in (0..count).step_by(7) {
                let (bytes, label) = draw(part, index);
                assert_eq!(label, index % 10);
                for byte in bytes {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
                }
            }
        }
        assert_eq!(format!("{hash:016x}"), "4b848a3cff20a051");
    }

    #[test]
    fn mean_and_deviation_are_those_of_the_training_images() {
        let (mut sum, mut squares) = ([0.0; 3], [0.0; 3]);
        for index in 0..TRAIN {
            for (i, byte) in draw(Part::Train, index).0.into_iter().enumerate() {
                sum[i % 3] += f64::from(byte);
                squares[i % 3] += f64::from(byte) * f64::from(byte);
            }
        }
        let count = f64::from(TRAIN * SIZE * SIZE);
        for c in 0..3 {
            let mean = sum[c] / count;
            let deviation = (squares[c] / count - mean * mean).sqrt();
            let rounded = |value: f64| (10.0 * value).round() / 10.0;
            assert_eq!(
                rounded(mean),
                f64::from((10.0 * MEAN[c]).round()) / 10.0,
                "mean {c}"
            );
            assert_eq!(
                rounded(deviation),
                f64::from((10.0 * STD[c]).round()) / 10.0,
                "std {c}"
            );
        }
    }
}
