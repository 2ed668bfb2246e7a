//! Errors in the specification of a network, or between it and a checkpoint.
//!
//! Most variants are usage errors; [`SpecError::is_about_checkpoint`] identifies those about a
//! file, so that the command line can choose its exit code.

use super::words::{Block, Growth, Stem, UnknownWord};
use crate::graph::ops::BranchRule;
use crate::text::printable;

/// A network that cannot be built, or a file that does not hold it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// A stage that the network does not have.
    #[error("the network has {most} stages, not {stages}; freeze at most {most}")]
    Stage {
        /// The number asked for.
        stages: u32,
        /// How many there are.
        most: u32,
    },

    /// No network of this stem and block has this depth.
    #[error("depth {depth} does not fit {block} units with the {stem} stem ({rule}); {nearest}")]
    Depth {
        /// The requested depth.
        depth: u32,
        /// The requested stem.
        stem: Stem,
        /// The requested block.
        block: Block,
        /// Which depths exist.
        rule: String,
        /// The nearest legal depths.
        nearest: String,
    },

    /// Alpha is out of range.
    #[error("alpha {alpha:?} with {growth} growth: {reason}")]
    Alpha {
        /// The requested alpha.
        alpha: f64,
        /// The requested growth.
        growth: Growth,
        /// What is wrong with it and which values are legal.
        reason: String,
    },

    /// The number of classes is zero or implausibly large.
    #[error("a network with {classes} classes cannot be built; choose 1 to {most}")]
    Classes {
        /// The requested number.
        classes: u32,
        /// The largest number accepted.
        most: u32,
    },

    /// The image size is too small for the strides of the network, or implausibly large.
    #[error("images of {size}x{size} do not fit the {stem} stem; choose {least} to {most}")]
    ImageSize {
        /// The requested size.
        size: u32,
        /// The requested stem.
        stem: Stem,
        /// The smallest size accepted.
        least: u32,
        /// The largest size accepted.
        most: u32,
    },

    /// More work than any machine does.
    #[error(
        "{network} takes {macs:.1e} multiply-adds for one image; choose a smaller image size, \
         alpha or depth, at most {most:.0e}"
    )]
    Work {
        /// The network in words.
        network: String,
        /// Multiply-adds of one forward pass.
        macs: f64,
        /// The largest number accepted.
        most: f64,
    },

    /// The probability of dropping a feature is not a probability, or 1.
    #[error("dropout {dropout} is not a probability below 1; choose 0 (none) up to, say, 0.5")]
    Dropout {
        /// The requested probability.
        dropout: f32,
    },

    /// The probability of an undisturbed branch is not a probability, or 0.
    #[error(
        "{rule} {survival}: the probability of an undisturbed branch in the last unit must be above \
         0 and at most 1 (none); the papers use 0.5"
    )]
    Survival {
        /// The random factor.
        rule: BranchRule,
        /// The requested probability.
        survival: f32,
    },

    /// Two kinds of random factors on the same branches.
    #[error(
        "ShakeDrop and stochastic depth exclude each other; turn one off with --shakedrop 1 or \
         --stochastic-depth 1"
    )]
    TwoBranchRules,

    /// A field of a PreResNet that cannot be chosen has another than its fixed value.
    #[error(
        "PreResNet has fixed widths and only the imagenet stem: {what} must be {expected}, not {found}"
    )]
    PreResNet {
        /// The field.
        what: &'static str,
        /// Its only legal value.
        expected: &'static str,
        /// The requested value.
        found: String,
    },

    /// No preset has this name.
    #[error(
        "there is no preset `{}`; did you mean `{nearest}`? All presets: {known}",
        printable(name)
    )]
    UnknownPreset {
        /// The requested name.
        name: String,
        /// The most similar name.
        nearest: &'static str,
        /// Every name.
        known: String,
    },

    /// The value of an option is not among its choices.
    #[error(transparent)]
    UnknownWord(#[from] UnknownWord),

    /// The tensors are not those of a supported network.
    #[error(
        "the tensors are not the weights of a PyramidNet or PreResNet: {reason}; \
         if they should be, name the network with --preset, or with --depth and --alpha"
    )]
    NotANetwork {
        /// The first mismatch.
        reason: String,
    },

    /// The network has tensors that the file lacks, or the file some that the network lacks.
    #[error(
        "{difference} ({network}); was it trained with another depth or block, \
             or saved with more than the network?"
    )]
    Tensors {
        /// The first few of these tensors.
        difference: String,
        /// The network in words.
        network: String,
    },

    /// Network and file disagree about a tensor's shape.
    #[error(
        "tensor `{name}`: the file has {found:?}, the network {expected:?} ({network}); {hint}"
    )]
    TensorShape {
        /// Name of the tensor.
        name: String,
        /// Its shape in the file.
        found: Vec<usize>,
        /// Its shape in the network.
        expected: Vec<usize>,
        /// The network in words.
        network: String,
        /// The likely reason.
        hint: &'static str,
    },

    /// The description inside a checkpoint cannot be used.
    #[error("the checkpoint's description (metadata `{key}`) cannot be used: {reason}")]
    Metadata {
        /// The metadata key.
        key: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl SpecError {
    /// Whether a file is at fault rather than the request.
    pub fn is_about_checkpoint(&self) -> bool {
        match self {
            SpecError::NotANetwork { .. }
            | SpecError::Tensors { .. }
            | SpecError::TensorShape { .. }
            | SpecError::Metadata { .. } => true,
            SpecError::Stage { .. }
            | SpecError::Depth { .. }
            | SpecError::Alpha { .. }
            | SpecError::Classes { .. }
            | SpecError::ImageSize { .. }
            | SpecError::Work { .. }
            | SpecError::Dropout { .. }
            | SpecError::Survival { .. }
            | SpecError::TwoBranchRules
            | SpecError::PreResNet { .. }
            | SpecError::UnknownPreset { .. }
            | SpecError::UnknownWord(_) => false,
        }
    }
}
