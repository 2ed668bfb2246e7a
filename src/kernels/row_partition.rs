//! The row partition: how memory-bound kernels divide a matrix of rows (pixels) by columns
//! (vectors of four channels) among workgroups.
//!
//! A workgroup owns `chunk` consecutive rows of one block of columns, at most as many as it has
//! invocations; invocation (offset, column) visits rows offset, offset + height, … of the chunk.
//! A reduction combines the results of a workgroup's invocations in workgroup memory and writes one
//! slice for each chunk.
//! The WGSL half is `shaders/lib/row_partition.wgsl`.

use super::shader::parameters;
use super::{MAX_WORKGROUPS, Target};
use crate::shape::{LANES, Shape};

/// Invocations of a workgroup of a kernel that writes a result for each row.
const WORKGROUP: usize = super::WORKGROUP as usize;

/// Invocations of a workgroup of a reduction on GPUs: the more of them, the fewer partial results
/// are left.
const REDUCTION_WORKGROUP: usize = 256;

/// Maximum number of workgroups along the rows of a reduction: enough to fill a large GPU, few
/// enough that partial results stay small.
const MAX_CHUNKS: usize = 512;

/// Minimum number of rows that one invocation visits, if there are enough: coefficients of its
/// column are computed once for all of them.
const MIN_VISITS: usize = 8;

/// Rows whose operands an invocation loads at a time on GPUs. Software adapters do not wait for
/// memory, and the unrolled code is slower there.
const ROWS: u32 = 4;

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
    workgroup: u32,
    /// Rows that an invocation loads at a time.
    rows_abreast: u32,
}

impl RowPartition {
    /// Partitions an activation.
    ///
    /// On software adapters, starting a workgroup costs more than a row, so chunks are longer
    /// there, and their number is chosen to divide evenly among threads.
    pub(super) fn new(shape: &Shape, target: &Target) -> RowPartition {
        let height = height(shape, WORKGROUP);
        let chunks = shape.rows().div_ceil(64 * height).next_multiple_of(16);
        let (rows_abreast, most) = match target.software {
            true => (1, chunks.min(MAX_CHUNKS)),
            false => (ROWS, MAX_WORKGROUPS as usize),
        };
        RowPartition::of(shape, WORKGROUP, rows_abreast, MIN_VISITS, most)
    }

    /// Partitions an activation among few workgroups, because each writes partial results.
    pub(super) fn reduction(shape: &Shape, target: &Target) -> RowPartition {
        match target.software {
            true => RowPartition::small_reduction(shape),
            false => {
                let visits = ROWS as usize;
                RowPartition::of(shape, REDUCTION_WORKGROUP, ROWS, visits, MAX_CHUNKS)
            }
        }
    }

    /// The same in workgroups of 64: for software adapters, and for kernels whose partial results
    /// are large.
    pub(super) fn small_reduction(shape: &Shape) -> RowPartition {
        let most = (MAX_CHUNKS / height(shape, WORKGROUP)).max(16);
        RowPartition::of(shape, WORKGROUP, 1, MIN_VISITS, most)
    }

    fn of(
        shape: &Shape,
        workgroup: usize,
        rows_abreast: u32,
        min_visits: usize,
        max_chunks: usize,
    ) -> RowPartition {
        let rows = shape.rows();
        let chunks = rows.div_ceil(height(shape, workgroup) * min_visits);
        let chunk = rows.div_ceil(chunks.clamp(1, max_chunks));
        RowPartition {
            rows: rows as u32,
            columns: columns(shape) as u32,
            chunk: chunk as u32,
            chunks: rows.div_ceil(chunk) as u32,
            workgroup: workgroup as u32,
            rows_abreast,
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

    /// Constants of a kernel that loads several rows at a time.
    pub(super) fn constants(&self) -> [(&'static str, u32); 2] {
        [
            ("ROW_INVOCATIONS", self.workgroup),
            ("ROWS", self.rows_abreast),
        ]
    }

    /// The same partition with at most so many rows at a time: for kernels that load many operands
    /// for a row, which occupy registers.
    pub(super) fn with_rows(self, most: u32) -> RowPartition {
        RowPartition {
            rows_abreast: self.rows_abreast.min(most),
            ..self
        }
    }

    /// Workgroups: chunks along x, blocks of columns along y.
    pub(super) fn grid(&self) -> [u32; 3] {
        let block = self.columns.min(self.workgroup);
        [self.chunks, self.columns.div_ceil(block), 1]
    }

    /// Rows that an invocation visits, at most.
    pub(super) fn visits(&self) -> u32 {
        let height = self.workgroup / self.columns.min(self.workgroup);
        self.chunk.div_ceil(height)
    }

    /// How often it waits for memory, if it loads several rows at a time.
    pub(super) fn steps(&self) -> u32 {
        self.visits().div_ceil(self.rows_abreast)
    }

    /// Slices of partial results that a reduction writes: one for each chunk.
    pub(super) fn slices(&self) -> u32 {
        self.chunks
    }
}

/// Vectors of four channels.
fn columns(shape: &Shape) -> usize {
    shape.last().div_ceil(LANES)
}

/// Rows that a workgroup visits at the same time.
fn height(shape: &Shape, workgroup: usize) -> usize {
    workgroup / columns(shape).min(workgroup)
}
