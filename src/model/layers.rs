//! The named layers of a network in order, from which parameters, counts and graph are derived.
//!
//! A [`Network`] is a stem, a list of residual units and a head. Stem, head and the paths of a
//! unit are plain sequences of [`Layer`]s, so that code that iterates over them does not
//! distinguish families and blocks. A unit computes, from its input `x`:
//!
//! ```text
//! y      = lead(x)                      lead is empty except where PreResNet changes width
//! output = branch(y) + shortcut(y)
//! ```
//!
//! PyramidNet's units have no ReLU before their first convolution, a batch norm after their last
//! and nothing after the sum. Their shortcut has no parameters: 2x2 average pooling where the
//! branch has stride 2, then zero channels appended after the existing ones
//! ([`Shortcut::PoolAndPad`]). For odd sizes the pooled size is rounded up, as the convolution's
//! is, and the last window averages only the pixels inside the image.
//!
//! PreResNet's units start with batch norm and ReLU. Where the width changes, these precede both
//! paths (the unit's lead) and the shortcut is a bare 1x1 convolution with the unit's stride; the
//! very first unit has no lead, because the stem ends in ReLU.
//!
//! Names are those of the authors' PyTorch modules (`layer1.0.conv1`, `bn_final`, `fc`); layers
//! without parameters follow the same scheme. For the tensors of the layers see
//! [`parameters`](Network::parameters).

use std::collections::BTreeSet;

use super::spec::NetworkSpec;
use crate::graph::ops::BranchRule;

/// Added to the variance before the square root in every batch norm.
pub const BATCH_NORM_EPSILON: f32 = 1e-5;
/// Weight of the newest batch in the running mean and variance of every batch norm.
pub const BATCH_NORM_MOMENTUM: f32 = 0.1;

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerKind {
    /// Square convolution without bias.
    Convolution {
        /// Input channels.
        input_channels: usize,
        /// Output channels.
        output_channels: usize,
        /// Rows and columns of the kernel.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
        /// Zeros padded on each side.
        padding: usize,
    },
    /// Batch norm over images, rows and columns.
    BatchNorm {
        /// Channels, each with its own statistics.
        channels: usize,
    },
    /// max(x, 0).
    Relu,
    /// Maximum of each window; padding is never the maximum.
    MaxPool {
        /// Rows and columns of the window.
        kernel: usize,
        /// Stride in both directions.
        stride: usize,
        /// Padding on each side.
        padding: usize,
        /// Whether extents are rounded up.
        ceil_mode: bool,
    },
    /// Mean over all rows and columns.
    GlobalAveragePool,
    /// In training, zeroes features with this probability p and scales the others by 1/(1 - p).
    Dropout {
        /// The probability.
        probability: f32,
    },
    /// In training, multiplies each image by a random factor ([`ScaleBranch`]).
    ///
    /// [`ScaleBranch`]: crate::graph::ops::ScaleBranch
    ScaleBranch {
        /// The distribution of the factors.
        rule: BranchRule,
        /// Probability of a factor that leaves the image undisturbed.
        survival: f64,
        /// Number of the unit in the network, from 1.
        unit: u32,
    },
    /// Matrix product plus bias.
    Linear {
        /// Input features.
        inputs: usize,
        /// Output values.
        outputs: usize,
    },
}

/// A layer of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Name of the PyTorch module; parameters are called `name.weight` and so on.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// Extents of its output for one image: rows, columns, channels; channels alone after the
    /// global average pool.
    pub output: Vec<usize>,
}

/// The shortcut connection of a unit.
#[derive(Clone, Debug, PartialEq)]
pub enum Shortcut {
    /// The input itself.
    Identity,
    /// Average pooling where the stride is 2, then zero channels appended up to the output's.
    PoolAndPad {
        /// Stride of the pool and size of its window: 1 (no pool) or 2.
        stride: usize,
        /// Input channels.
        input_channels: usize,
        /// Output channels, at least as many.
        output_channels: usize,
    },
    /// A 1x1 convolution.
    Projection(Layer),
}

/// A residual unit: two paths and their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Name of the PyTorch module, `layer1.0`.
    pub name: String,
    /// Stage, counted from 0.
    pub stage: usize,
    /// Index within the stage, counted from 0.
    pub index_in_stage: usize,
    /// Input channels.
    pub input_channels: usize,
    /// Output channels of the first convolution.
    pub width: usize,
    /// Output channels: the width, or four times the width.
    pub output_channels: usize,
    /// 2 in the first unit of every stage but the first, else 1.
    pub stride: usize,
    /// The layers before both paths.
    pub lead: Vec<Layer>,
    /// The residual branch.
    pub branch: Vec<Layer>,
    /// The shortcut connection.
    pub shortcut: Shortcut,
    /// Extents of the sum for one image: rows, columns, channels.
    pub output: Vec<usize>,
}

impl Unit {
    /// Its layers: lead, branch, projection.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        let projection = match &self.shortcut {
            Shortcut::Projection(layer) => Some(layer),
            Shortcut::Identity | Shortcut::PoolAndPad { .. } => None,
        };
        self.lead.iter().chain(&self.branch).chain(projection)
    }
}

/// All layers of a valid network; built by [`Network::new`].
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    pub(super) spec: NetworkSpec,
    /// From the image to the first unit.
    pub stem: Vec<Layer>,
    /// The residual units, in order.
    pub units: Vec<Unit>,
    /// From the last unit to the logits.
    pub head: Vec<Layer>,
    /// Names of the frozen layers.
    pub(super) frozen: BTreeSet<String>,
}

impl Network {
    /// The specification that the network was built from.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Every layer, in the order in which PyTorch registers the modules: a unit's projection
    /// comes after its branch.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        let units = self.units.iter().flat_map(Unit::layers);
        self.stem.iter().chain(units).chain(&self.head)
    }

    /// Width of every unit, in order.
    pub fn widths(&self) -> Vec<usize> {
        self.units.iter().map(|unit| unit.width).collect()
    }

    /// Input features of the classifier.
    pub fn feature_dim(&self) -> usize {
        let last = self.units.last().expect("every network has units");
        last.output_channels
    }
}
