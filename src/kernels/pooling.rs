//! Parameters that max-pooling and its gradient share.

use super::row_partition::RowPartition;
use super::shader::parameters;
use crate::graph::ops::Pooling;
use crate::shape::{LANES, Shape};

parameters! {
    pub(super) struct Params {
        rows,
        /// Vectors of four channels.
        columns,
        /// Rows of a workgroup.
        chunk,
        kernel,
        stride,
        padding,
        p,
        q,
        h,
        w,
        /// Channels in the last group.
        tail,
    }
}

impl Params {
    pub(super) fn new(partition: &RowPartition, pooling: Pooling, y: &Shape, x: &Shape) -> Params {
        Params {
            rows: partition.rows,
            columns: partition.columns,
            chunk: partition.chunk,
            kernel: pooling.kernel as u32,
            stride: pooling.window.stride as u32,
            padding: pooling.window.padding as u32,
            p: y.dims[1] as u32,
            q: y.dims[2] as u32,
            h: x.dims[1] as u32,
            w: x.dims[2] as u32,
            tail: ((x.dims[3] - 1) % LANES + 1) as u32,
        }
    }

    /// Maximum number of windows that a pixel lies in.
    pub(super) fn windows(&self) -> u32 {
        self.kernel.div_ceil(self.stride).pow(2)
    }
}
