//! PyramidNet from a short specification, and everything derived from it.
//!
//! ```text
//! preset name ──┐
//! flags ────────┼─▶ NetworkSpec ─▶ Network: layers by name ─┬─▶ parameters: names, shapes, roles
//! checkpoint ───┘     (spec)            (layers)            ├─▶ counts and the table of `summary`
//!  (description, infer)                                     ├─▶ initial values
//!                                                           ├─▶ the comparison with a file
//!                                                           └─▶ the forward graph, and the packing
//!                                                               between files and graphs
//! ```
//!
//! A [`NetworkSpec`] may be invalid; a [`Network`] is always valid, because [`Network::new`]
//! checks. This room performs no input or output: checkpoints reach it as metadata strings and
//! as names with shapes.

mod count;
mod description;
mod error;
mod frozen;
mod graph;
mod infer;
mod init;
mod layers;
mod layout;
mod packing;
mod parameters;
mod presets;
mod published;
mod spec;
mod state;
mod units;
mod words;

pub use count::{Counts, Row};
#[cfg(not(target_arch = "wasm32"))]
pub use description::check_classes;
pub use description::{Description, METADATA_KEY, Preprocessing, numbered_classes};
pub use error::SpecError;
pub use graph::{
    BatchAugmentation, Input, Statistics, assemble_batch, crop_padding, declared, names,
};
pub use infer::{Shapes, check, infer};
pub use init::initial_values;
pub use layers::{
    BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Layer, LayerKind, Network, Shortcut, Unit,
};
pub use packing::PackedValue;
pub use parameters::{Parameter, ParameterRole};
pub use presets::{preset, preset_names};
pub use published::{Published, published, published_for};
pub use spec::{MAX_CLASSES, MAX_IMAGE_SIZE, MAX_WIDTH, NetworkSpec};
pub use state::TensorKind;
pub use units::MAX_DEPTH;
pub use words::{Block, Family, Growth, Rounding, Stem, UnknownWord};
