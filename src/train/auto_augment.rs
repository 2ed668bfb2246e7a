//! Automatic augmentation: which transforms an image gets, by the policies of torchvision.
//!
//! - trivial: TrivialAugment (Müller and Hutter, ICCV 2021) with its wide ranges: one operation, and
//!   one of 31 magnitudes.
//! - rand: RandAugment (Cubuk et al., NeurIPS 2020): two operations at magnitude 9 of 30.
//! - cifar10: AutoAugment (Cubuk et al., CVPR 2019): one of 25 pairs of operations that were found
//!   for CIFAR-10, each with its probability and magnitude.
//!
//! All are uniform over operations, magnitudes, pairs and signs, and come before flip and crop, as in
//! TrivialAugment's code. They depend on the seed, the epoch and the sample only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::data::EpochKey;
use crate::graph::ops::{Base, Transform};
use crate::rng::{Purpose, Stream};

/// A policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AutoAugment {
    /// No transforms.
    #[default]
    None,
    /// TrivialAugment.
    Trivial,
    /// RandAugment.
    Rand,
    /// AutoAugment for CIFAR-10.
    Cifar10,
}

/// An operation on an image, named as in torchvision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the papers' names")]
pub enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

use Operation::{
    AutoContrast, Brightness, Color, Contrast, Equalize, Identity, Invert, Posterize, Rotate,
    Sharpness, ShearX, ShearY, Solarize, TranslateX, TranslateY,
};

/// Those of [`AutoAugment::Trivial`] and [`AutoAugment::Rand`].
const OPERATIONS: [Operation; 14] = [
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
];

/// Magnitude of [`AutoAugment::Rand`].
const RAND_LEVEL: u32 = 9;

/// The pairs of [`AutoAugment::Cifar10`]: operation, probability in tenths and magnitude of each
/// (Cubuk et al., table 7).
const CIFAR10: [[(Operation, u32, u32); 2]; 25] = [
    [(Invert, 1, 0), (Contrast, 2, 6)],
    [(Rotate, 7, 2), (TranslateX, 3, 9)],
    [(Sharpness, 8, 1), (Sharpness, 9, 3)],
    [(ShearY, 5, 8), (TranslateY, 7, 9)],
    [(AutoContrast, 5, 0), (Equalize, 9, 0)],
    [(ShearY, 2, 7), (Posterize, 3, 7)],
    [(Color, 4, 3), (Brightness, 6, 7)],
    [(Sharpness, 3, 9), (Brightness, 7, 9)],
    [(Equalize, 6, 0), (Equalize, 5, 0)],
    [(Contrast, 6, 7), (Sharpness, 6, 5)],
    [(Color, 7, 7), (TranslateX, 5, 8)],
    [(Equalize, 3, 0), (AutoContrast, 4, 0)],
    [(TranslateY, 4, 3), (Sharpness, 2, 6)],
    [(Brightness, 9, 6), (Color, 2, 8)],
    [(Solarize, 5, 2), (Invert, 0, 0)],
    [(Equalize, 2, 0), (AutoContrast, 6, 0)],
    [(Equalize, 2, 0), (Equalize, 6, 0)],
    [(Color, 9, 9), (Equalize, 6, 0)],
    [(AutoContrast, 8, 0), (Solarize, 2, 8)],
    [(Brightness, 1, 3), (Color, 7, 0)],
    [(Solarize, 4, 5), (AutoContrast, 9, 0)],
    [(TranslateY, 9, 9), (TranslateY, 7, 9)],
    [(AutoContrast, 9, 0), (Solarize, 8, 3)],
    [(Equalize, 8, 0), (Invert, 1, 0)],
    [(TranslateY, 7, 9), (AutoContrast, 9, 0)],
];

/// Largest magnitudes of a policy.
struct Ranges {
    /// Number of magnitudes, from none to these.
    levels: u32,
    shear: f64,
    /// Pixels.
    translate: f64,
    /// Degrees.
    rotate: f64,
    /// Distance of a factor from 1.
    factor: f64,
    /// Bits that are lost.
    posterize: f64,
}

impl AutoAugment {
    /// All, by the words of the command line, with their names.
    const ALL: [(AutoAugment, &str, &str); 4] = [
        (AutoAugment::None, "none", "none"),
        (AutoAugment::Trivial, "trivial", "TrivialAugment"),
        (AutoAugment::Rand, "rand", "RandAugment"),
        (AutoAugment::Cifar10, "cifar10", "AutoAugment for CIFAR-10"),
    ];

    fn row(self) -> &'static (AutoAugment, &'static str, &'static str) {
        let found = AutoAugment::ALL.iter().find(|(policy, ..)| *policy == self);
        found.expect("the table has all")
    }

    /// Its name in the literature.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// Whether it is the default.
    pub fn is_none(&self) -> bool {
        *self == AutoAugment::None
    }

    /// Number of transforms of an image.
    pub fn transforms(self) -> usize {
        match self {
            AutoAugment::None => 0,
            AutoAugment::Trivial => 1,
            AutoAugment::Rand | AutoAugment::Cifar10 => 2,
        }
    }

    /// The transforms of a sample of `size` x `size`, as many as [`AutoAugment::transforms`].
    pub fn draw(self, key: EpochKey, sample: u32, size: u32) -> Vec<Transform> {
        let mut stream = key.stream(Purpose::Transform, sample as usize);
        let stream = &mut stream;
        match self {
            AutoAugment::None => Vec::new(),
            AutoAugment::Trivial => {
                let operation = OPERATIONS[stream.below(OPERATIONS.len() as u32) as usize];
                let level = stream.below(self.levels());
                vec![self.signed(stream, operation, level, size)]
            }
            AutoAugment::Rand => {
                let mut one = || {
                    let operation = OPERATIONS[stream.below(OPERATIONS.len() as u32) as usize];
                    self.signed(stream, operation, RAND_LEVEL, size)
                };
                vec![one(), one()]
            }
            AutoAugment::Cifar10 => {
                let pair = CIFAR10[stream.below(CIFAR10.len() as u32) as usize];
                let one = |(operation, tenths, level)| match stream.below(10) < tenths {
                    true => self.signed(stream, operation, level, size),
                    false => Transform::Identity,
                };
                pair.map(one).into()
            }
        }
    }

    /// The first transforms of some samples as words, then the second ones, as many as
    /// [`AutoAugment::transforms`].
    pub fn words(self, key: EpochKey, samples: &[u32], size: u32) -> Vec<Vec<u32>> {
        let mut words = vec![Vec::new(); self.transforms()];
        for sample in samples {
            for (words, transform) in words.iter_mut().zip(self.draw(key, *sample, size)) {
                words.extend(transform.to_words());
            }
        }
        words
    }

    /// An operation with either sign of its magnitude.
    fn signed(self, stream: &mut Stream, operation: Operation, level: u32, size: u32) -> Transform {
        let magnitude = self.magnitude(operation, level, size);
        let negative = operation.is_signed() && stream.below(2) == 1;
        operation.transform(if negative { -magnitude } else { magnitude }, size)
    }

    fn ranges(self, size: u32) -> Ranges {
        // RandAugment has those of AutoAugment; a translation by 150 of 331 pixels is that of
        // ImageNet's networks.
        let auto_augment = |levels| Ranges {
            levels,
            shear: 0.3,
            translate: 150.0 / 331.0 * f64::from(size),
            rotate: 30.0,
            factor: 0.9,
            posterize: 4.0,
        };
        match self {
            AutoAugment::Trivial => Ranges {
                levels: 31,
                shear: 0.99,
                translate: 32.0,
                rotate: 135.0,
                factor: 0.99,
                posterize: 6.0,
            },
            AutoAugment::None | AutoAugment::Rand => auto_augment(31),
            AutoAugment::Cifar10 => auto_augment(10),
        }
    }

    /// Number of magnitudes of an operation.
    pub fn levels(self) -> u32 {
        self.ranges(0).levels
    }

    /// The magnitude of an operation on images of `size` x `size`, from level 0 to the last: a
    /// factor for shears, pixels for translations, degrees, the distance of a factor from 1, bits
    /// that are kept, a threshold, or 0.
    pub fn magnitude(self, operation: Operation, level: u32, size: u32) -> f64 {
        let ranges = self.ranges(size);
        let share = f64::from(level) / f64::from(ranges.levels - 1);
        match operation {
            ShearX | ShearY => ranges.shear * share,
            TranslateX | TranslateY => ranges.translate * share,
            Rotate => ranges.rotate * share,
            Brightness | Color | Contrast | Sharpness => ranges.factor * share,
            Posterize => 8.0 - (ranges.posterize * share).round(),
            Solarize => 255.0 - 255.0 * share,
            Identity | AutoContrast | Equalize | Invert => 0.0,
        }
    }
}

impl Operation {
    /// Whether a magnitude may be negative.
    pub fn is_signed(self) -> bool {
        match self {
            ShearX | ShearY | TranslateX | TranslateY | Rotate => true,
            Brightness | Color | Contrast | Sharpness => true,
            Identity | Posterize | Solarize | AutoContrast | Equalize | Invert => false,
        }
    }

    /// The transform of an image of `size` x `size`.
    pub fn transform(self, magnitude: f64, size: u32) -> Transform {
        let blend = |base| Transform::blend(base, 1.0 + magnitude);
        match self {
            Identity => Transform::Identity,
            ShearX => Transform::shear_x(magnitude),
            ShearY => Transform::shear_y(magnitude),
            TranslateX => Transform::translate(magnitude as i32, 0),
            TranslateY => Transform::translate(0, magnitude as i32),
            Rotate => Transform::rotate(magnitude, size as usize),
            Brightness => blend(Base::Black),
            Color => blend(Base::Grey),
            Contrast => blend(Base::MeanGrey),
            Sharpness => blend(Base::Smooth),
            Posterize => Transform::posterize(magnitude as u32),
            Solarize => Transform::solarize(magnitude),
            AutoContrast => Transform::AutoContrast,
            Equalize => Transform::Equalize,
            Invert => Transform::invert(),
        }
    }
}

impl FromStr for AutoAugment {
    type Err = String;

    fn from_str(text: &str) -> Result<AutoAugment, String> {
        let found = AutoAugment::ALL.iter().find(|(_, word, _)| *word == text);
        let found = found.map(|(policy, ..)| *policy);
        found.ok_or_else(|| "it is trivial, rand, cifar10 or none".to_owned())
    }
}

impl fmt::Display for AutoAugment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}
