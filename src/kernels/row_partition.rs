//! The row partition: how memory-bound kernels divide a matrix of rows (pixels) by columns
//! (vectors of four channels) among workgroups.
//!
//! A workgroup of 64 invocations owns `chunk` consecutive rows of one block of at most 64
//! columns; invocation (offset, column) visits rows offset, offset + height, … of the chunk.
//! The WGSL half is `shaders/lib/row_partition.wgsl`.

use super::Target;
use super::shader::parameters;
use crate::shape::{LANES, Shape};

/// Invocations in a workgroup.
const WORKGROUP: usize = super::WORKGROUP as usize;

/// Maximum number of workgroups along the rows: enough to fill a large GPU, few enough that
/// partial results stay small.
const MAX_CHUNKS: usize = 512;

/// Minimum number of rows that one invocation visits, if there are enough.
const MIN_VISITS: usize = 8;

parameters! {
    /// Parameters of a kernel that needs only its partition.
    pub(super) struct Params {
        rows,
        /// Vectors of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
    }
}

/// A partition of a matrix among workgroups.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowPartition {
    /// Rows of the matrix.
    pub(super) rows: u32,
    /// Columns: vectors of four channels.
    pub(super) columns: u32,
    /// Rows of a workgroup.
    pub(super) chunk: u32,
    chunks: u32,
}

impl RowPartition {
    /// Partitions an activation.
    ///
    /// On software adapters, starting a workgroup costs more than a row, so chunks are longer
    /// there, and their number is chosen to divide evenly among threads.
    pub(super) fn new(shape: &Shape, target: &Target) -> RowPartition {
        let columns = shape.last().div_ceil(LANES);
        let height = WORKGROUP / columns.min(WORKGROUP);
        let chunks = shape.rows().div_ceil(64 * height).next_multiple_of(16);
        let most = match target.software {
            true => chunks.min(MAX_CHUNKS),
            false => MAX_CHUNKS,
        };
        RowPartition::of(shape.rows(), columns, most)
    }

    /// Partitions an activation among few workgroups, because each writes partial results.
    pub(super) fn reduction(shape: &Shape) -> RowPartition {
        let columns = shape.last().div_ceil(LANES);
        let height = WORKGROUP / columns.min(WORKGROUP);
        RowPartition::of(shape.rows(), columns, (MAX_CHUNKS / height).max(16))
    }

    fn of(rows: usize, columns: usize, max_chunks: usize) -> RowPartition {
        let height = WORKGROUP / columns.min(WORKGROUP);
        let chunks = rows.div_ceil(height * MIN_VISITS).clamp(1, max_chunks);
        let chunk = rows.div_ceil(chunks);
        RowPartition {
            rows: rows as u32,
            columns: columns as u32,
            chunk: chunk as u32,
            chunks: rows.div_ceil(chunk) as u32,
        }
    }

    /// The partition as parameters of a kernel.
    pub(super) fn params(&self) -> Params {
        Params {
            rows: self.rows,
            columns: self.columns,
            chunk: self.chunk,
        }
    }

    /// Workgroups: chunks along x, blocks of columns along y.
    pub(super) fn grid(&self) -> [u32; 3] {
        let block = self.columns.min(WORKGROUP as u32);
        [self.chunks, self.columns.div_ceil(block), 1]
    }

    /// Rows that an invocation visits one after another, at most.
    pub(super) fn visits(&self) -> u32 {
        self.chunk.div_ceil(self.height())
    }

    /// Slices of partial results that a reduction writes: one for each offset of each chunk.
    pub(super) fn slices(&self) -> u32 {
        self.chunks * self.height()
    }

    /// Rows that a workgroup visits at the same time.
    fn height(&self) -> u32 {
        WORKGROUP as u32 / self.columns.min(WORKGROUP as u32)
    }
}
