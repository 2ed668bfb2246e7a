//! The options of a network as enums, with their words on the command line and in checkpoints.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::printable;

/// A word that is not among an option's choices.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{}` is not a {what}; the choices are {known}", printable(word))]
pub struct UnknownWord {
    /// Which option.
    pub what: &'static str,
    /// The word given.
    pub word: String,
    /// The legal words.
    pub known: String,
}

/// Declares an enum whose variants are words on the command line and in checkpoints.
macro_rules! words {
    ($(#[$about:meta])* $name:ident, $what:literal: $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// Every variant.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The variant's word on the command line and in checkpoints.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<$name, UnknownWord> {
                let found = $name::ALL.iter().find(|choice| choice.word() == word);
                found.copied().ok_or_else(|| UnknownWord {
                    what: $what,
                    word: word.to_string(),
                    known: [$($word),+].join(", "),
                })
            }
        }
    };
}

words! {
    /// How the width changes from unit to unit.
    Growth, "growth":
    /// By alpha / units channels each: the last width is the stem's plus alpha.
    Additive = "add",
    /// By the factor alpha^(1 / units) each: the last width is the stem's times alpha.
    Multiplicative = "mul",
}

words! {
    /// The residual unit.
    Block, "block":
    /// Two 3x3 convolutions of the unit's width.
    Basic = "basic",
    /// 1x1, 3x3 and 1x1 convolutions; the last has four times the unit's width in outputs.
    Bottleneck = "bottleneck",
}

words! {
    /// The layers before the units, which also determine the number of stages.
    Stem, "stem":
    /// 3x3 convolution to 16 channels, batch norm; three stages.
    Cifar = "cifar",
    /// 7x7 convolution with stride 2 to 64 channels, batch norm, ReLU, 3x3 max-pool with
    /// stride 2; four stages.
    ImageNet = "imagenet",
}

words! {
    /// How fractional widths are rounded.
    Rounding, "rounding":
    /// floor(x + 1/2): the authors' Torch code, and PyTorch code under Python 2.
    HalfUp = "half-up",
    /// To the nearest, exact halves to the even neighbour: PyTorch code under Python 3.
    HalfEven = "half-even",
}

words! {
    /// The family of networks.
    Family, "family":
    /// The paper's network: growing widths, shortcuts without parameters.
    PyramidNet = "pyramidnet",
    /// The baseline of the ImageNet table: pre-activation units ("Identity Mappings in Deep
    /// Residual Networks", 2016) whose width doubles from stage to stage.
    PreResNet = "preresnet",
}

impl Growth {
    /// Whether an alpha is legal: additive growth must add channels, multiplicative growth must
    /// not narrow (1 keeps every width).
    pub(super) fn allows(self, alpha: f64) -> bool {
        match self {
            Growth::Additive => alpha > 0.0,
            Growth::Multiplicative => alpha >= 1.0,
        }
    }
}

impl Block {
    /// Ratio of a unit's output channels to its width.
    pub fn expansion(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }

    /// Layers with weights in one unit.
    pub(super) fn layers(self) -> u32 {
        match self {
            Block::Basic => 2,
            Block::Bottleneck => 3,
        }
    }
}

impl Stem {
    /// Output channels of the stem.
    pub fn channels(self) -> usize {
        match self {
            Stem::Cifar => 16,
            Stem::ImageNet => 64,
        }
    }

    /// The default number of classes, without a flag or a dataset.
    pub fn default_classes(self) -> u32 {
        match self {
            Stem::Cifar => 10,
            Stem::ImageNet => 1000,
        }
    }

    /// The default rows and columns of an image.
    pub fn default_image_size(self) -> u32 {
        match self {
            Stem::Cifar => 32,
            Stem::ImageNet => 224,
        }
    }

    /// The smallest image size: the product of all strides of the network.
    pub fn least_image_size(self) -> u32 {
        match self {
            Stem::Cifar => 4,
            Stem::ImageNet => 32,
        }
    }

    pub(super) fn stages(self) -> u32 {
        match self {
            Stem::Cifar => 3,
            Stem::ImageNet => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written_alike() {
        assert_eq!("mul".parse(), Ok(Growth::Multiplicative));
        assert_eq!(Block::Bottleneck.to_string(), "bottleneck");
        assert_eq!(
            serde_json::to_string(&Rounding::HalfEven).unwrap(),
            "\"half-even\""
        );
        for stem in Stem::ALL {
            assert_eq!(stem.word().parse(), Ok(*stem));
        }
        let error = "square".parse::<Block>().unwrap_err().to_string();
        assert!(error.contains("`square` is not a block") && error.contains("basic, bottleneck"));
    }

    #[test]
    fn blocks_are_guessed_from_the_depth() {
        let cases = [
            (Stem::Cifar, 110, Block::Basic),
            (Stem::Cifar, 29, Block::Bottleneck),
            (Stem::Cifar, 111, Block::Basic),
            (Stem::ImageNet, 18, Block::Basic),
            (Stem::ImageNet, 50, Block::Bottleneck),
            (Stem::ImageNet, 200, Block::Bottleneck),
            (Stem::ImageNet, 10, Block::Basic),
            (Stem::ImageNet, 38, Block::Bottleneck),
        ];
        for (stem, depth, block) in cases {
            assert_eq!(Block::default_for(stem, depth), block, "{stem} {depth}");
        }
    }
}
