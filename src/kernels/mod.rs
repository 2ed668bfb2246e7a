//! The host half of the shaders (parameters, bindings, grids, variants), and the lowering of
//! graphs to programs.
//!
//! Each operator has a file here with the stem of its WGSL file in `shaders/`.
//! [`lower()`] walks a graph and emits the dispatches of each node. Where several kernels can
//! compute a node, [`Choices`] select one; a node without an entry gets the default.
//! The room depends on no device: a [`Target`] describes what lowering needs of one.
//!
//! Nearly all memory-bound kernels follow two conventions.
//! *Row partition*: an activation is a matrix of rows (pixels) by columns (vectors of four
//! channels). A workgroup owns a range of rows, an invocation one column of every few of them, so
//! per-channel values stay in registers (`shaders/lib/row_partition.wgsl`).
//! *Slices*: a reduction writes partial results for slices of the rows, and a second dispatch
//! combines the slices in a fixed order, so the result is bitwise reproducible.

mod accumulate;
mod add;
mod adjust_loss_scale;
mod arenas;
mod assemble_batch;
mod average_weights;
mod batch_moments;
mod batch_norm;
mod bias_add;
mod choices;
mod clip_factor;
mod column_sum;
mod conv2d;
mod conv2d_grad_input;
mod conv2d_grad_weight;
mod convert;
mod convolution;
mod count_metrics;
mod cross_entropy;
mod dropout;
mod elementwise;
mod erase;
mod find_overflow;
mod global_average_pool;
mod global_average_pool_grad;
mod lower;
mod lowering;
mod max_pool;
mod max_pool_grad;
mod merge_moments;
mod mix_batch;
mod normalize;
mod normalize_grad;
mod normalize_grad_reduce;
mod pooling;
pub mod probe;
mod relu;
mod relu_grad;
mod row_partition;
mod running_average;
mod scale_branch;
mod scale_loss;
mod sgd;
mod shader;
mod shape_class;
mod shortcut_add;
mod shortcut_grad;
mod softmax_cross_entropy;
mod softmax_cross_entropy_grad;
mod sum_slices;
mod transform_images;

pub use choices::{Choices, SUBGROUP, kernel_name};
pub use convolution::MATRIX_NAMES;
pub use lower::lower;
pub use lowering::{LowerError, Lowered, Offer, Place};
pub use shape_class::ShapeClass;

use crate::program::MatrixUnit;
use crate::shape::DType;

/// Names of all kernel variants; each operator supports some of them.
pub fn variants() -> Vec<&'static str> {
    let tiles = convolution::tile_names();
    let winograd = choices::WINOGRAD.map(|(name, _)| name);
    let all = [choices::DIRECT, choices::SUBGROUP]
        .into_iter()
        .chain(winograd);
    all.chain(tiles).collect()
}

/// A hash of the text of all kernels.
pub fn fingerprint() -> u64 {
    let shaders = SHADERS.into_iter().chain(convolution::SHADERS);
    let text = shaders.flat_map(|shader| shader.text.bytes());
    crate::rng::hash(text.chain(shader::library()))
}

/// What lowering needs to know about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Largest storage-buffer binding, in bytes.
    pub max_binding: u64,
    /// Storage buffers that a kernel may bind.
    pub storage_bindings: usize,
    /// Invocations in a subgroup, if subgroups are available and their size is fixed.
    pub subgroup_size: Option<u32>,
    /// Whether shaders may use 64-bit integers.
    pub int64: bool,
    /// Matrix units that kernels may use: on a device, those that passed the self-check.
    pub matrices: Vec<MatrixUnit>,
    /// Whether the adapter is a software implementation that runs on the CPU.
    pub software: bool,
}

impl Target {
    /// The limits and features that WebGPU guarantees on every device.
    pub fn portable() -> Target {
        Target {
            max_binding: 128 << 20,
            storage_bindings: 8,
            subgroup_size: None,
            int64: false,
            matrices: Vec::new(),
            software: false,
        }
    }

    /// The unit with the largest matrices whose operands have the feature maps' precision.
    fn matrix_unit(&self, half: bool) -> Option<MatrixUnit> {
        let operands = if half { DType::F16 } else { DType::F32 };
        let able = self
            .matrices
            .iter()
            .filter(|unit| unit.operands == operands);
        able.max_by_key(|unit| unit.size).copied()
    }
}

/// Invocations in a workgroup of nearly all kernels but the convolutions.
const WORKGROUP: u32 = 64;

/// WebGPU's default limit of workgroups along one dimension of a grid.
const MAX_WORKGROUPS: u32 = 65_535;

/// A grid of at least `workgroups` workgroups: along x, and along y where x is too short.
///
/// Kernels number their workgroups y·width + x and ignore those past the count.
fn grid(workgroups: usize) -> [u32; 3] {
    // A grid that does not fit belongs to operands that no adapter can bind.
    let workgroups = u32::try_from(workgroups.max(1)).unwrap_or(u32::MAX);
    let rows = workgroups.div_ceil(MAX_WORKGROUPS);
    [workgroups.div_ceil(rows), rows, 1]
}

/// All shaders except the convolutions', which are in [`convolution::SHADERS`].
const SHADERS: [&shader::Shader; 41] = [
    &accumulate::SHADER,
    &add::SHADER,
    &adjust_loss_scale::SHADER,
    &assemble_batch::SHADER,
    &average_weights::SHADER,
    &batch_moments::SHADER,
    &bias_add::SHADER,
    &clip_factor::SHADER,
    &clip_factor::SQUARES,
    &column_sum::SHADER,
    &convert::TO_ACTIVATION,
    &convert::TO_F32,
    &count_metrics::SHADER,
    &dropout::SHADER,
    &erase::SHADER,
    &find_overflow::SHADER,
    &global_average_pool::SHADER,
    &global_average_pool_grad::SHADER,
    &max_pool::SHADER,
    &max_pool_grad::SHADER,
    &merge_moments::SHADER,
    &mix_batch::SHADER,
    &normalize::SHADER,
    &normalize_grad::SHADER,
    &normalize_grad::PARTIAL,
    &normalize_grad_reduce::SHADER,
    &relu::SHADER,
    &relu_grad::SHADER,
    &running_average::SHADER,
    &scale_branch::SHADER,
    &scale_loss::SHADER,
    &sgd::SHADER,
    &shortcut_add::SHADER,
    &shortcut_grad::SHADER,
    &softmax_cross_entropy::SHADER,
    &softmax_cross_entropy_grad::SHADER,
    &sum_slices::SHADER,
    &transform_images::SHADER,
    &probe::ARITHMETIC,
    &probe::COPY,
    &probe::DIFFERENCE,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every WGSL file has a host half, with the same parameters and bindings.
    #[test]
    fn every_shader_agrees_with_its_host_half() {
        let shaders = SHADERS.into_iter().chain(convolution::SHADERS);
        let mut names: Vec<String> = shaders
            .map(|shader| {
                shader::check_twin(shader);
                format!("{}.wgsl", shader.name)
            })
            .collect();
        names.sort();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let files = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut files: Vec<String> = files.filter(|name| name.ends_with(".wgsl")).collect();
        files.sort();
        assert_eq!(names, files);
    }
}
