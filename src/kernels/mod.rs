//! The host half of the shaders: parameters, bindings, grids, variants; and the lowering of
//! graphs to programs.
//!
//! Each operator has a file here with the stem of its WGSL file in `shaders/`.
//! [`lower`] walks a graph and lets each node's file emit its dispatches; where an operator
//! has several kernels, [`Choices`] say which, and a rule of sound defaults decides the rest.
//! The room knows no device: what it needs to know of one is a [`Target`].
//!
//! Two conventions serve nearly all kernels that are limited by memory.
//! The *row partition*: an activation is a matrix of pixels by groups of four channels; a workgroup
//! owns a run of rows, an invocation one column of every few rows, so that a channel's
//! numbers stay in registers (`shaders/lib/row_partition.wgsl`).
//! The *slice*: reductions write partial results for slices of the rows, and a second
//! dispatch combines the slices in fixed order; no atomics, the same bits every time.

mod assemble_batch;
mod batch_moments;
mod bias_add;
mod choices;
mod conv2d;
mod convert;
mod count_metrics;
mod dropout;
mod elementwise;
mod global_average_pool;
mod loss_scale;
mod lower;
mod max_pool;
mod normalize;
mod optimizer;
pub mod probe;
mod row_partition;
mod running_average;
mod shader;
mod shortcut;
mod softmax_cross_entropy;
mod sum_slices;

pub use choices::{Choices, variants};
pub use conv2d::{MATRIX_NAMES, fingerprint};
pub use lower::{LowerError, Lowered, Offer, Place, lower};

use crate::program::MatrixUnit;
use crate::shape::DType;

/// What lowering needs to know of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Largest part of a buffer that one binding may show, in bytes.
    pub max_binding: u64,
    /// Invocations in a subgroup, where that number is fixed and subgroups can be used.
    pub subgroup_size: Option<u32>,
    /// 64-bit integers in shaders.
    pub int64: bool,
    /// Matrix units, which are known to work.
    pub matrices: Vec<MatrixUnit>,
    /// The device is a processor that pretends to be a GPU.
    pub software: bool,
}

impl Target {
    /// What WebGPU guarantees everywhere.
    pub fn portable() -> Target {
        Target {
            max_binding: 128 << 20,
            subgroup_size: None,
            int64: false,
            matrices: Vec::new(),
            software: false,
        }
    }

    /// The matrix unit with the largest matrices, for feature maps of a precision.
    fn matrix_unit(&self, half: bool) -> Option<MatrixUnit> {
        let operands = if half { DType::F16 } else { DType::F32 };
        let able = self
            .matrices
            .iter()
            .filter(|unit| unit.operands == operands);
        able.max_by_key(|unit| unit.size).copied()
    }
}

/// Workgroups along one dimension of a grid, at most (WebGPU).
const MAX_WORKGROUPS: u32 = 65_535;

/// A grid for a number of workgroups: along x, and along y when x is not enough.
///
/// Kernels number their workgroups y·width + x and check the count.
fn grid(workgroups: usize) -> [u32; 3] {
    let workgroups = workgroups.max(1) as u32;
    let rows = workgroups.div_ceil(MAX_WORKGROUPS);
    [workgroups.div_ceil(rows), rows, 1]
}
